import assert from "node:assert/strict";
import { test } from "node:test";
import { verdict } from "../graphics.js";

const model = {
  labels: [{ malignant: true }, { malignant: false }],
  temperature: 1,
  prior_shift: [0, 0],
  decision_weights: [1, 1],
  threshold: 0.5,
  domain_threshold: -1,
};
const outputs = { logits: [0.1, 0.2], domain: -0.5, maps: { data: Float32Array.of(-1, 0, 3) }, milliseconds: 9 };
const judge = changes => verdict(model, [[outputs, { ...outputs, milliseconds: 5, ...changes }], [outputs, outputs]]);

test("the same answers in less time are taken", () => {
  assert.deepEqual(judge({}), { use: true, told: "In use: the same answers, 5 ms an image instead of 9 ms." });
  assert.equal(judge({ logits: [0.1001, 0.2] }).use, true);
});

test("the same answers in more time are not, by the fastest of each", () => {
  assert.match(judge({ milliseconds: 12 }).told, /^Not used: .* 9 ms an image instead of 9 ms/);
});

test("what differs in one thing only is not taken", () => {
  for (const changes of [
    { logits: [0.11, 0.2] }, { logits: [NaN, 0.2] }, { domain: -0.51 }, { domain: NaN },
    { maps: { data: Float32Array.of(-1, 0.01, 3) } }, { maps: { data: Float32Array.of(-1, NaN, 3) } },
  ]) assert.deepEqual(judge(changes), { use: false, told: "Not used: it gives other answers here." });
});
