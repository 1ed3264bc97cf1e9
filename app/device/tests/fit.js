// node fit.js WIDTH HEIGHT SIZE FIT CROPS < RGBA in base64: the fitted levels, for a test that asks the library the same.

import { readFileSync } from "node:fs";
import { fitted } from "../fit.js";

const [width, height, size] = process.argv.slice(2, 5).map(Number);
const data = Buffer.from(readFileSync(0, "utf8"), "base64");
console.log(JSON.stringify(Array.from(fitted({ data, width, height }, size, process.argv[5], Number(process.argv[6])))));
