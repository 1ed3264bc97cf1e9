// The activation map as a picture to lay over the image, as app/pictures.py paints it.

import { region, squares, WIDEST } from "./fit.js";

const SIDE = 96; // pixels, the longer side; activation maps are coarse, and the browser enlarges this smoothly

/** Five steps of viridis, even in lightness, and safe for colour-blind readers; app/pictures.py has the same. */
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

/**
 * Where the evidence for a class is: the stronger, the yellower and denser.
 *
 * @param {Float32Array} maps  one class's, row by row, the crops' one below the other; only what speaks for it is shown
 * @param {{height: number, width: number}} size  of the maps
 * @param {{height: number, width: number}} frame  in pixels
 * @param {Pick<Model, "fit" | "crops">} model  how the network saw the frame
 * @returns {{data: Uint8ClampedArray<ArrayBuffer>, height: number, width: number} | null}
 *   RGBA with the frame's proportions; null where nothing speaks for the class
 */
export function paint(maps, size, frame, { fit, crops }) {
  const { activation, grid } = whole(maps, { height: size.height / crops, width: size.width }, frame, fit, crops);
  const most = Math.max(...activation);
  if (!(most > 0)) return null;
  const scale = SIDE / Math.max(frame.height, frame.width);
  const height = Math.max(1, Math.round(frame.height * scale));
  const width = Math.max(1, Math.round(frame.width * scale));
  const { top, left, ...seen } = rounded(region({ height, width }, fit, crops));
  const rows = weights(grid.height, seen.height), columns = weights(grid.width, seen.width);
  const data = new Uint8ClampedArray(4 * height * width);
  for (let y = 0; y < seen.height; y++) {
    for (let x = 0; x < seen.width; x++) {
      let strength = 0;
      for (let i = 0; i < grid.height; i++) {
        for (let j = 0; j < grid.width; j++) {
          strength += rows[y][i] * columns[x][j] * Math.max(activation[i * grid.width + j], 0) / most;
        }
      }
      strength = Math.min(1, Math.max(0, strength));
      data.set([...color(strength), 255 * strength], 4 * ((y + top) * width + x + left));
    }
  }
  return { data, height, width };
}

/**
 * A box between whole pixels, halves to the even one.
 *
 * @param {{top: number, left: number, height: number, width: number}} box
 */
function rounded({ top, left, height, width }) {
  const [from, until, start, stop] = [top, top + height, left, left + width].map(place =>
    (place % 1 === 0.5 ? 2 * Math.round(place / 2) : Math.round(place)));
  return { top: from, left: start, height: until - from, width: stop - start };
}

/**
 * The crops' maps over all that they cover, as join_maps of skinlesion/core/framing.py joins them.
 *
 * @param {Float32Array} maps
 * @param {{height: number, width: number}} size  of one crop's
 * @param {{height: number, width: number}} frame
 * @param {string} fit
 * @param {number} crops
 */
function whole(maps, size, frame, fit, crops) {
  if (crops === 1) return { activation: maps, grid: size };
  const seen = region(frame, fit, crops), cells = size.height * size.width;
  const grid = { height: Math.ceil(WIDEST * size.height), width: Math.ceil(WIDEST * size.width) };
  const total = new Float64Array(grid.height * grid.width), cover = new Float64Array(total.length);
  squares(frame, fit, crops).forEach((box, number) => {
    const one = maps.subarray(number * cells, (number + 1) * cells);
    const rows = linear(size.height, grid.height, (box.top - seen.top) / seen.height, box.height / seen.height);
    const columns = linear(size.width, grid.width, (box.left - seen.left) / seen.width, box.width / seen.width);
    for (let y = 0; y < grid.height; y++) {
      for (let x = 0; x < grid.width; x++) {
        for (let i = 0; i < size.height; i++) {
          for (let j = 0; j < size.width; j++) {
            const weight = rows[y][i] * columns[x][j];
            total[y * grid.width + x] += weight * one[i * size.width + j];
            cover[y * grid.width + x] += weight;
          }
        }
      }
    }
  });
  return { activation: Float32Array.from(total, (sum, i) => sum / cover[i]), grid };
}

/**
 * Linear interpolation from `source` cells on a part of a side to `target` cells on all of it; nothing outside the part.
 *
 * @param {number} source
 * @param {number} target
 * @param {number} start  of the part, as a share of the side
 * @param {number} share  of the side
 */
function linear(source, target, start, share) {
  return Array.from({ length: target }, (_, t) => {
    const place = (t + 0.5) / target;
    const inside = place >= start && place <= start + share ? 1 : 0;
    const center = Math.min(source - 1, Math.max(0, (place - start) / share * source - 0.5));
    return Array.from({ length: source }, (_, s) => Math.max(0, 1 - Math.abs(s - center)) * inside);
  });
}

/** @param {number} strength  from 0 to 1 */
function color(strength) {
  const place = strength * (VIRIDIS.length - 1);
  const step = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[step].map((value, i) => value + (place - step) * (VIRIDIS[step + 1][i] - value));
}

/**
 * Cubic interpolation (Keys 1981, a = -1/2) along one side, enlarging: how much each source pixel counts for each target.
 *
 * @param {number} source
 * @param {number} target
 */
function weights(source, target) {
  return Array.from({ length: target }, (_, t) => {
    const center = (t + 0.5) * source / target - 0.5;
    const row = Array.from({ length: source }, (_, s) => cubic(Math.abs(s - center)));
    const total = row.reduce((sum, value) => sum + value, 0); // less than one at the borders
    return row.map(value => value / total);
  });
}

/** @param {number} x */
function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}
