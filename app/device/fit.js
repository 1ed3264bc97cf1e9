// Into the network's crops: skinlesion/core/framing.py's `fit_crops` in whole numbers, equal to it to the byte. The model
// file does this too, but with dense matrices, most of them zeros, and in 64 bits, which WebGPU lacks.

const WEIGHT_STEPS = 4096;
const HALF = 0.5013; // just off one half, which simple ratios would land on

export const WIDEST = 4 / 3; // long side to short side of what two crops hold of a frame

/**
 * Fit a frame into square crops, one after the other: all of it where `fit` is "squash", its centre square, or the left and the right crop.
 *
 * @param {Frame} frame
 * @param {number} size  of a crop, in pixels
 * @param {Model["fit"]} fit
 * @param {number} crops  how many crops, 1 or 2
 * @returns {Float32Array<ArrayBuffer>}  RGB, row by row, whole levels from 0 to 255
 */
export function fitted(frame, size, fit, crops) {
  const levels = new Float32Array(crops * size * size * 3);
  squares(frame, fit, crops).forEach((box, i) => fill(levels.subarray(i * size * size * 3), frame, size, box));
  return levels;
}

/**
 * What of a frame the network sees; skinlesion/core/framing.py's `region`.
 *
 * @param {{height: number, width: number}} frame  in pixels
 * @param {string} fit
 * @param {number} crops
 * @returns {{top: number, left: number, height: number, width: number}}  in pixels, fractions too
 */
export function region({ height, width }, fit, crops) {
  const longest = fit === "squash" ? Infinity : crops === 1 ? 1 : WIDEST;
  const tall = Math.min(height, width * longest), wide = Math.min(width, height * longest);
  return { top: (height - tall) / 2, left: (width - wide) / 2, height: tall, width: wide };
}

/**
 * The boxes that one prediction is made of, as `region` gives them.
 *
 * @param {{height: number, width: number}} frame
 * @param {string} fit
 * @param {number} crops
 */
export function squares(frame, fit, crops) {
  const seen = region(frame, fit, crops);
  if (crops === 1) return [seen];
  const side = Math.min(frame.height, frame.width);
  return [
    { top: seen.top, left: seen.left, height: side, width: side },
    { top: seen.top + seen.height - side, left: seen.left + seen.width - side, height: side, width: side },
  ];
}

/**
 * @param {Float32Array} levels  filled from its start
 * @param {Frame} frame
 * @param {number} size
 * @param {{top: number, left: number, height: number, width: number}} box
 */
function fill(levels, { data, width, height }, size, box) {
  const rows = bands(height, size, box.top, box.height), columns = bands(width, size, box.left, box.width);
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
}

/**
 * Weights of the antialiased triangle filter along one side, as `resize_matrix` has them, without the zeros.
 *
 * @param {number} source  pixels
 * @param {number} target  pixels
 * @param {number} start  where what is seen of the source begins, in pixels
 * @param {number} taken  how many of the source's pixels are seen
 * @returns {{first: number, steps: number[]}[]}  a target pixel each: the first source pixel that counts, and how much
 *   it and the next ones count, in 4096ths
 */
function bands(source, target, start, taken) {
  const scale = taken / target, reach = Math.max(scale, 1);
  return Array.from({ length: target }, (_, t) => {
    const center = start + (t + 0.5) * scale;
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
