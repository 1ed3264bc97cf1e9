// Into the network's square: skinlesion/images.py's `fit` in whole numbers, equal to it to the byte. The model file does
// this too, but with dense matrices, most of them zeros, and in 64 bits, which WebGPU lacks.

/** @import {Frame, Model} from "./types.js" */

const WEIGHT_STEPS = 4096;
const HALF = 0.5013; // just off one half, which simple ratios would land on

/**
 * Fit a frame into a square: all of it where `fit` is "squash", else its centre square.
 *
 * @param {Frame} frame
 * @param {number} size  of the square, in pixels
 * @param {Model["fit"]} fit
 * @returns {Float32Array<ArrayBuffer>}  RGB, row by row, whole levels from 0 to 255
 */
export function fitted({ data, width, height }, size, fit) {
  const side = fit === "squash" ? null : Math.min(width, height);
  const rows = bands(height, size, side ?? height), columns = bands(width, size, side ?? width);
  const levels = new Float32Array(size * size * 3);
  const sums = new Int32Array(width * 4);
  for (let y = 0, to = 0; y < size; y++) {
    sums.fill(0);
    rows[y].steps.forEach((weight, i) => {
      const from = (rows[y].first + i) * sums.length;
      for (let x = 0; x < sums.length; x++) sums[x] += weight * data[from + x];
    });
    for (let x = 0; x < sums.length; x++) sums[x] = (sums[x] + 128) >> 8; // rounded to 16ths of a level
    for (const { first, steps } of columns) {
      let red = 0, green = 0, blue = 0;
      for (let i = 0, from = 4 * first; i < steps.length; i++, from += 4) {
        red += steps[i] * sums[from];
        green += steps[i] * sums[from + 1];
        blue += steps[i] * sums[from + 2];
      }
      for (const sum of [red, green, blue]) levels[to++] = (sum + 32768) >> 16;
    }
  }
  return levels;
}

/**
 * Weights of the antialiased triangle filter along one side, as `resize_matrix` has them, without the zeros.
 *
 * @param {number} source  pixels
 * @param {number} target  pixels
 * @param {number} taken  how many of the source's pixels, from its middle, are seen
 * @returns {{first: number, steps: number[]}[]}  a target pixel each: the first source pixel that counts, and how much
 *   it and the next ones count, in 4096ths
 */
function bands(source, target, taken) {
  const scale = taken / target, reach = Math.max(scale, 1);
  return Array.from({ length: target }, (_, t) => {
    const center = (source - taken) / 2 + (t + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - reach - 0.5));
    const last = Math.min(source - 1, Math.ceil(center + reach - 0.5));
    const weights = Array.from({ length: last - first + 1 }, (_, i) =>
      Math.max(0, 1 - Math.abs(first + i + 0.5 - center) / reach));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let share = 0, before = 0;
    const steps = weights.map(weight => {
      const until = Math.floor((share += weight) / total * WEIGHT_STEPS + HALF);
      const step = until - before;
      before = until;
      return step;
    });
    return { first, steps };
  });
}
