// The activation map as a picture to lay over the image, as app/pictures.py paints it.

const SIDE = 96; // pixels, the longer side; activation maps are coarse, and the browser enlarges this smoothly

/** Five steps of viridis, even in lightness, and safe for colour-blind readers; app/pictures.py has the same. */
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

/**
 * Where the evidence for a class is: the stronger, the yellower and denser.
 *
 * @param {Float32Array} activation  one class's map, row by row; only what speaks for the class is shown
 * @param {{height: number, width: number}} grid  of the map
 * @param {{height: number, width: number}} frame  in pixels
 * @param {string} fit  how the network saw the frame: all of it where "squash", else its centre square
 * @returns {{data: Uint8ClampedArray<ArrayBuffer>, height: number, width: number} | null}
 *   RGBA with the frame's proportions; null where nothing speaks for the class
 */
export function paint(activation, grid, frame, fit) {
  const most = Math.max(...activation);
  if (!(most > 0)) return null;
  const scale = SIDE / Math.max(frame.height, frame.width);
  const height = Math.max(1, Math.round(frame.height * scale));
  const width = Math.max(1, Math.round(frame.width * scale));
  const seen = fit === "squash" ? { height, width } : { height: Math.min(height, width), width: Math.min(height, width) };
  const top = Math.round((height - seen.height) / 2), left = Math.round((width - seen.width) / 2);
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
