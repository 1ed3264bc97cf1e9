// From an image file to a bitmap: upright, its colours in sRGB, and no larger than the network can make use of.

const HEAD_BYTES = 2 ** 18; // colour profiles stand before the pixels
/** Sides are halved while this many times the network's frame is left, so that halving moves no probability noticeably. */
const ROOM = 4;

/**
 * Whether a JPEG, PNG or WebP file has an embedded colour profile. It is then converted to sRGB, the space of the training
 * images, as skinlesion/core/colour.py does. Without one, a gamma value for screens must not change the pixels.
 *
 * @param {Blob} image
 */
async function hasProfile(image) {
  const head = new TextDecoder("latin1").decode(await image.slice(0, HEAD_BYTES).arrayBuffer());
  return ["ICC_PROFILE\0", "iCCP", "ICCP"].some(mark => head.includes(mark));
}

/**
 * @param {Blob} image
 * @returns {Promise<ImageBitmap>}
 * @throws where the browser cannot read the file
 */
export async function bitmapOf(image) {
  const colorSpaceConversion = (await hasProfile(image)) ? "default" : "none";
  return createImageBitmap(image, { imageOrientation: "from-image", colorSpaceConversion });
}

/**
 * How often both sides can be halved.
 *
 * @param {{width: number, height: number}} picture  in pixels
 * @param {number} frame  side of the network's input, in pixels
 */
export function halvings({ width, height }, frame) {
  return Math.max(0, Math.floor(Math.log2(Math.min(width, height) / (ROOM * frame))));
}

/**
 * @param {ImageBitmap} bitmap  closed if it is not returned itself
 * @param {number} times
 * @returns {Promise<ImageBitmap>}
 */
export async function halved(bitmap, times) {
  if (times === 0) return bitmap;
  const [resizeWidth, resizeHeight] = [bitmap.width, bitmap.height].map(side => Math.max(1, Math.round(side / 2 ** times)));
  const small = await createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: "medium" }); // box filters
  bitmap.close();
  return small;
}

/** Larger images are reduced to this many pixels: the canvases of some phones hold no more. */
export const MAX_PIXELS = 16_000_000;

/**
 * The size that an image is read at.
 *
 * @param {number} width
 * @param {number} height
 */
export function capped(width, height) {
  const scale = Math.min(1, Math.sqrt(MAX_PIXELS / (width * height)));
  return { width: Math.max(1, Math.floor(width * scale)), height: Math.max(1, Math.floor(height * scale)) };
}
