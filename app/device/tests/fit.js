// node fit.js < {frames, size, fits}: the fitted levels of every frame (RGBA in base64) by every [fit, crops], for a test
// that asks the library the same.

import { readFileSync } from "node:fs";
import { fitted } from "../fit.js";

const { frames, size, fits } = JSON.parse(readFileSync(0, "utf8"));
const found = frames.map(({ data, width, height }) => {
  const frame = { data: Buffer.from(data, "base64"), width, height };
  return fits.map(([fit, crops]) => Array.from(fitted(frame, size, fit, crops)));
});
console.log(JSON.stringify(found));
