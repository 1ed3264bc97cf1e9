import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decide } from "../decision.js";

const label = (code, malignant) => ({ code, name: code, malignant, color: "#000000", description: "" });
const model = {
  labels: [label("bad", true), label("good", false), label("worse", true)],
  temperature: 2,
  prior_shift: [0, 0, 0],
  decision_weights: [1, 1, 1],
  threshold: 0.5,
  borderline: 0.2,
  melanoma_level: null,
  prediction_set: null,
  domain: { other_camera: -1, not_dermatoscopic: 0.5 },
};
const usual = { other_camera: 0, not_dermatoscopic: 1 };
const { models, cases } = JSON.parse(readFileSync(new URL("decision_vectors.json", import.meta.url), "utf8"));

/** Equal but for the last digits, which an exponential may round differently. */
function near(found, expected) {
  assert.equal(found.length, expected.length);
  found.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) <= 1e-13 * expected[i], `${value}, ${expected[i]}`));
}

test("the vectors that Python writes", () => {
  assert.ok(cases.length > 50);
  for (const { model, logits, domain, expected } of cases) {
    const found = decide(models[model], logits, domain);
    near(found.probabilities, expected.probabilities);
    near(found.scores, expected.scores);
    near([found.malignantProbability], [expected.malignant_probability]);
    assert.deepEqual(
      [models[model].labels[found.best].code, found.referral, found.inDomain, found.notices, found.predictionSet],
      [expected.label, expected.referral, expected.in_domain, expected.notices, expected.prediction_set],
    );
  }
});

test("by hand: logits twice a logarithm, halved by the temperature", () => {
  const found = decide(model, [2 * Math.log(1), 2 * Math.log(2), 2 * Math.log(5)], usual);
  [1 / 8, 2 / 8, 5 / 8].forEach((share, i) => assert.ok(Math.abs(found.probabilities[i] - share) < 1e-12));
  assert.deepEqual([found.best, found.referral, found.inDomain], [2, "refer", true]);
  assert.ok(Math.abs(found.malignantProbability - 6 / 8) < 1e-12);
});

test("decision weights choose the class and leave the probabilities alone", () => {
  const found = decide({ ...model, decision_weights: [9, 1, 1] }, [0, 2, 2], usual);
  assert.equal(found.best, 0);
  assert.equal(found.probabilities.indexOf(Math.max(...found.probabilities)), 1);
});

test("thresholds are reached by what equals them", () => {
  const half = { ...model, labels: model.labels.slice(0, 2) };
  assert.equal(decide(half, [-2, 2], usual).referral, "below");
  assert.equal(decide({ ...half, threshold: 0.9, borderline: 0.5, decision_weights: [1, 2] }, [0, 0], usual).referral, "borderline");
  const edge = { other_camera: -1, not_dermatoscopic: 0.5 };
  assert.deepEqual(decide(half, [0, 0], edge).notices, []);
  assert.deepEqual(decide(half, [0, 0], { ...edge, other_camera: -1.0001 }).notices, ["other_camera"]);
  const none = decide(half, [0, 0], { ...edge, not_dermatoscopic: 0.4999 });
  assert.deepEqual([none.referral, none.inDomain, none.notices], ["none", false, ["not_dermatoscopic"]]);
});

test("huge logits neither overflow nor pass one", () => {
  const found = decide(model, [1e4, -1e4, 1e4], usual);
  assert.deepEqual(found.probabilities, [0.5, 0, 0.5]);
  assert.equal(found.malignantProbability, 1);
});

test("outputs that are not finite are an error", () => {
  assert.throws(() => decide(model, [0, NaN, 0], usual), { key: "not_finite" });
  assert.throws(() => decide(model, [0, 0, 0], { ...usual, other_camera: -Infinity }), { key: "not_finite" });
});
