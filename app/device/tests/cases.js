// node cases.js < cases.json: what this page makes of outputs, for a test that asks the server's code the same.

import { readFileSync } from "node:fs";
import { decide } from "../decision.js";
import { paint } from "../overlay.js";
import { WARNING, advice, notices, percent, ranking, reason } from "../words.js";

const { decisions, overlays, shares } = JSON.parse(readFileSync(0, "utf8"));

console.log(JSON.stringify({
  decisions: decisions.map(({ model, logits, domain }) => {
    const found = decide(model, logits, domain);
    const warning = found.inDomain ? "" : WARNING;
    const words = { advice: advice(found), reason: reason(found, model), warning, notices: notices(found, model) };
    return { ...found, ...words, ranking: ranking(found) };
  }),
  overlays: overlays.map(({ maps, size, frame, model }) => {
    const painted = paint(Float32Array.from(maps), size, frame, model);
    return painted && { ...painted, data: Array.from(painted.data) };
  }),
  shares: shares.map(percent),
}));
