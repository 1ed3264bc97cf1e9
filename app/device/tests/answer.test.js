import assert from "node:assert/strict";
import { test } from "node:test";
import { answer } from "../answer.js";

const label = (code, malignant) => ({ code, name: code, malignant, color: "#000000", description: "" });
const model = {
  labels: [label("bad", true), label("good", false), label("worse", true)],
  temperature: 2,
  prior_shift: [0, 0, 0],
  decision_weights: [1, 1, 1],
  threshold: 0.5,
  domain_threshold: -1,
};

test("by hand: logits twice a logarithm, halved by the temperature", () => {
  const found = answer(model, [2 * Math.log(1), 2 * Math.log(2), 2 * Math.log(5)], 0);
  [1 / 8, 2 / 8, 5 / 8].forEach((share, i) => assert.ok(Math.abs(found.probabilities[i] - share) < 1e-12));
  assert.deepEqual([found.best, found.referral, found.inDomain], [2, "refer", true]);
  assert.ok(Math.abs(found.malignantProbability - 6 / 8) < 1e-12);
});

test("decision weights choose the class and leave the probabilities alone", () => {
  const found = answer({ ...model, decision_weights: [9, 1, 1] }, [0, 2, 2], 0);
  assert.equal(found.best, 0);
  assert.equal(found.probabilities.indexOf(Math.max(...found.probabilities)), 1);
});

test("thresholds are reached by what equals them", () => {
  const half = { ...model, labels: model.labels.slice(0, 2) };
  assert.equal(answer(half, [0, 0], -1).referral, "refer");
  assert.equal(answer(half, [0, 0], -1).inDomain, true);
  assert.equal(answer(half, [0, 0], -1.0001).inDomain, false);
});

test("huge logits neither overflow nor pass one", () => {
  const found = answer(model, [1e4, -1e4, 1e4], 0);
  assert.deepEqual(found.probabilities, [0.5, 0, 0.5]);
  assert.equal(found.malignantProbability, 1);
});

test("without a domain score of the network, energy is it", () => {
  assert.ok(Math.abs(answer(model, [0, 0, 0], null).domainScore - Math.log(3)) < 1e-12);
});

test("numbers that are not finite are no answer", () => {
  assert.throws(() => answer(model, [0, NaN, 0], 0), /not finite/);
  assert.throws(() => answer(model, [0, 0, 0], -Infinity), /not finite/);
});
