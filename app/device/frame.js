// From a file to the pixels that the network takes; runs in the worker. The server's counterpart is skinlesion/core/images.py.

import { bitmapOf, capped, halved, halvings } from "./bitmap.js";
import { Fault } from "./fault.js";

const MIN_SIDE = 16; // pixels, as on the server
const MAX_BYTES = 20 * 2 ** 20; // likewise

/**
 * Decode an image: upright, over white, and with its sides halved where they are much longer than the network's frame.
 *
 * @param {Blob} image
 * @param {number} side  of the network's frame, in pixels
 * @returns {Promise<Frame>}
 */
export async function decode(image, side) {
  if (image.size > MAX_BYTES) throw new Fault("too_large", { bytes: image.size, most: MAX_BYTES });
  let bitmap = await open(image);
  if (Math.min(bitmap.width, bitmap.height) < MIN_SIDE) {
    throw new Fault("too_small", { width: bitmap.width, height: bitmap.height, least: MIN_SIDE });
  }
  bitmap = await halved(bitmap, halvings(bitmap, side));
  const { width, height } = capped(bitmap.width, bitmap.height);
  const context = surface(width, height);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { data: context.getImageData(0, 0, width, height).data, width, height };
}

/** @param {Blob} image */
async function open(image) {
  checkCanvas();
  try {
    return await bitmapOf(image);
  } catch {
    throw new Fault("unreadable");
  }
}

/**
 * @param {number} width
 * @param {number} height
 */
function surface(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Fault("no_memory");
  return context;
}

/** Refuse where a browser hands out made-up pixels to hide who it is: the network would classify noise. */
function checkCanvas() {
  const context = surface(16, 16);
  for (let i = 0; i < 16; i++) {
    context.fillStyle = `rgb(${i * 16} ${255 - i * 16} ${i * 7})`;
    context.fillRect(i, 0, 1, 16);
  }
  const { data } = context.getImageData(0, 0, 16, 16);
  const off = data.reduce((sum, value, at) => {
    const i = (at >> 2) % 16;
    return sum + Math.abs(value - [i * 16, 255 - i * 16, i * 7, 255][at % 4]);
  }, 0) / data.length;
  if (off > 1) throw new Fault("changed_pixels");
}
