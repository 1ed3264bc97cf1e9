// node cases.js < cases.json: what this page makes of outputs and frames, for a test that asks the server's code the same.

import { readFileSync } from "node:fs";
import { decide } from "../decision.js";
import { fitted } from "../fit.js";
import { paint } from "../overlay.js";
import { advice, labelDiffers, notices, percent, ranking, reason } from "../words.js";

const { decisions = [], frames = [], size, fits, overlays = [], shares = [] } = JSON.parse(readFileSync(0, "utf8"));

console.log(JSON.stringify({
  decisions: decisions.map(({ model, logits, domain }) => {
    const found = decide(model, logits, domain);
    const words = {
      advice: advice(found, model), reason: reason(found, model), said: notices(found, model), differs: labelDiffers(found, model),
    };
    return { ...found, ...words, ranking: ranking(found) };
  }),
  frames: frames.map(frame => fits.map(([fit, crops]) =>
    Array.from(fitted({ ...frame, data: Buffer.from(frame.data, "base64") }, size, fit, crops)))),
  overlays: overlays.map(({ maps, size, frame, model }) => {
    const painted = paint(Float32Array.from(maps), size, frame, model);
    return painted && { ...painted, data: Array.from(painted.data) };
  }),
  shares: shares.map(share => percent(decisions[0].model, share)),
}));
