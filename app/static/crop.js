// The crop step: a square over the picture, moved and sized by pointer, touch or keys, and beside it what the model gets.

import { bitmapOf, capped } from "./bitmap.js";

const SMALLEST = 64; // pixels of the picture, a side
const STEP = 0.02; // of the picture's short side, a key or a turn of the wheel

/** @param {string} part */
const find = part => /** @type {any} */ (document.querySelector(`#crop [data-part="${part}"]`));

/** @type {ImageBitmap} */
let bitmap;
let box = { x: 0, y: 0, side: 1 }; // left, top and side of the square, in pixels of the picture

/**
 * Let the user choose a square of a picture.
 *
 * @param {Blob} image
 * @returns {Promise<Blob | null>}  the square as a PNG; null where it was given up
 * @throws where the browser cannot read the picture
 */
export async function crop(image) {
  bitmap = await bitmapOf(image);
  const picture = find("picture"), dialog = /** @type {HTMLDialogElement} */ (document.getElementById("crop"));
  Object.assign(picture, capped(bitmap.width, bitmap.height));
  picture.getContext("2d").drawImage(bitmap, 0, 0, picture.width, picture.height);
  find("frame").style.setProperty("--ratio", String(bitmap.width / bitmap.height));
  const side = Math.min(bitmap.width, bitmap.height);
  place({ x: (bitmap.width - side) / 2, y: (bitmap.height - side) / 2, side });
  dialog.returnValue = "";
  dialog.showModal();
  find("square").focus();
  await new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
  const chosen = dialog.returnValue === "take" ? await cut() : null;
  bitmap.close();
  picture.width = picture.height = 0; // gives its memory back
  return chosen;
}

function cut() {
  const { width } = capped(box.side, box.side), canvas = new OffscreenCanvas(width, width);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, box.x, box.y, box.side, box.side, 0, 0, width, width);
  return canvas.convertToBlob({ type: "image/png" });
}

/**
 * Show the square there, inside the picture and on whole pixels.
 *
 * @param {{x: number, y: number, side: number}} wanted
 */
function place(wanted) {
  const { width, height } = bitmap, most = Math.min(width, height);
  const side = Math.round(Math.min(most, Math.max(Math.min(SMALLEST, most), wanted.side)));
  const inside = (/** @type {number} */ start, /** @type {number} */ end) => Math.round(Math.min(end - side, Math.max(0, start)));
  box = { x: inside(wanted.x, width), y: inside(wanted.y, height), side };
  const square = find("square").style;
  square.left = `${100 * box.x / width}%`;
  square.top = `${100 * box.y / height}%`;
  square.width = `${100 * side / width}%`;
  square.height = `${100 * side / height}%`;
  find("size").value = String(Math.round(100 * side / most));
  const seen = find("seen"), context = seen.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, box.x, box.y, side, side, 0, 0, seen.width, seen.height);
  find("said").value = `${side} × ${side} px (${box.x}, ${box.y})`;
}

/** @param {number} side  around the same centre */
function resize(side) {
  place({ x: box.x + (box.side - side) / 2, y: box.y + (box.side - side) / 2, side });
}

/** @type {Record<string, [number, number, number]>}  right, down, larger */
const KEYS = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0],
  "+": [0, 0, 1], "=": [0, 0, 1], "-": [0, 0, -1],
};

/** @param {KeyboardEvent} event */
function press(event) {
  const move = KEYS[event.key];
  if (!move || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const [right, down, larger] = move.map(way => way * STEP * Math.min(bitmap.width, bitmap.height));
  if (larger) resize(box.side + larger);
  else place({ ...box, x: box.x + right, y: box.y + down });
}

/** @type {Map<number, {x: number, y: number}>}  where the fingers, or the pointer, are */
const held = new Map();

/** @param {PointerEvent} event */
function hold(event) {
  event.preventDefault();
  find("square").focus();
  find("frame").setPointerCapture(event.pointerId);
  held.set(event.pointerId, at(event));
}

/** @param {PointerEvent} event  of the last one or two that are held: one moves the square, two size it */
function drag(event) {
  const before = held.get(event.pointerId);
  if (!before) return;
  const now = at(event), other = [...held].find(([id]) => id !== event.pointerId)?.[1];
  held.set(event.pointerId, now);
  if (other) return resize(box.side * Math.hypot(now.x - other.x, now.y - other.y) / Math.hypot(before.x - other.x, before.y - other.y));
  place({ ...box, x: box.x + now.x - before.x, y: box.y + now.y - before.y });
}

/**
 * In pixels of the picture.
 *
 * @param {PointerEvent} event
 */
function at({ clientX, clientY }) {
  const shown = find("frame").getBoundingClientRect();
  return { x: (clientX - shown.left) * bitmap.width / shown.width, y: (clientY - shown.top) * bitmap.height / shown.height };
}

const frame = find("frame");
frame.addEventListener("pointerdown", hold);
frame.addEventListener("pointermove", drag);
for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, (/** @type {PointerEvent} */ event) => held.delete(event.pointerId));
frame.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
  event.preventDefault();
  resize(box.side - Math.sign(event.deltaY) * STEP * Math.min(bitmap.width, bitmap.height));
}, { passive: false });
find("square").addEventListener("keydown", press);
find("size").addEventListener("input", () => resize(find("size").value / 100 * Math.min(bitmap.width, bitmap.height)));
