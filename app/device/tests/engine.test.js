import assert from "node:assert/strict";
import { test } from "node:test";
import { verdict } from "../engine.js";

const model = {
  labels: [{ code: "mel", malignant: true }, { code: "nv", malignant: false }],
  temperature: 1,
  prior_shift: [0, 0],
  decision_weights: [1, 1],
  threshold: 0.5,
  borderline: 0.2,
  melanoma_level: null,
  prediction_set: null,
  domain: { other_camera: -1, not_dermatoscopic: 0.5 },
};
const outputs = { logits: [0.1, 0.2], domain: { other_camera: -0.5, not_dermatoscopic: 0.9 }, maps: { data: Float32Array.of(-1, 0, 3) }, milliseconds: 9 };
const verdictOf = changes => verdict(model, [[outputs, { ...outputs, milliseconds: 5, ...changes }], [outputs, outputs]]);

test("the same predictions in less time are taken", () => {
  assert.deepEqual(verdictOf({}), { use: true, message: ["in_use", { after: "5", before: "9" }] });
  assert.equal(verdictOf({ logits: [0.1001, 0.2] }).use, true);
});

test("the same predictions in more time are not, by the fastest of each", () => {
  assert.deepEqual(verdictOf({ milliseconds: 12 }), { use: false, message: ["slower", { after: "9", before: "9" }] });
});

test("what differs in one thing only is not taken", () => {
  for (const changes of [
    { logits: [0.11, 0.2] }, { logits: [NaN, 0.2] }, { domain: { ...outputs.domain, other_camera: -0.51 } },
    { domain: { ...outputs.domain, not_dermatoscopic: NaN } },
    { maps: { data: Float32Array.of(-1, 0.01, 3) } }, { maps: { data: Float32Array.of(-1, NaN, 3) } },
  ]) assert.deepEqual(verdictOf(changes), { use: false, message: ["other_predictions", {}] });
});
