import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_PIXELS, capped, halvings } from "../../static/bitmap.js";
import { fitted, region } from "../fit.js";

test("usual sizes stay as they are", () => {
  for (const [width, height] of [[600, 450], [4000, 3000], [16, 16]]) assert.deepEqual(capped(width, height), { width, height });
});

test("huge images shrink to the limit and keep their proportions", () => {
  for (const [width, height] of [[8000, 5000], [5000, 8000], [40000, 1000], [8000, 8000]]) {
    const small = capped(width, height);
    assert.ok(small.width * small.height <= MAX_PIXELS);
    assert.ok(small.width * small.height > 0.99 * MAX_PIXELS);
    assert.ok(Math.abs(small.width / small.height / (width / height) - 1) < 0.01);
  }
});

test("not even a thread of pixels vanishes", () => {
  assert.equal(capped(1, 10 ** 8).width, 1);
});

test("sides are halved while four times the network's frame is left", () => {
  for (const [width, height, frame, times] of [
    [600, 450, 160, 0], [1279, 2000, 160, 0], [1280, 2000, 160, 1], [4000, 3000, 160, 2], [4000, 3000, 224, 1], [20, 16, 224, 0],
  ]) assert.equal(halvings({ width, height }, frame), times);
});

/** An opaque frame whose red, green and blue are `levels`, `levels` + 1 and `levels` + 2. */
const frame = (width, height, levels) =>
  ({ width, height, data: Uint8Array.from(levels.flatMap(level => [level, level + 1, level + 2, 255])) });

test("a frame of the crop's size stays as it is", () => {
  assert.deepEqual([...fitted(frame(2, 2, [10, 20, 30, 40]), 2, "squash", 1)], [10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42]);
});

test("by hand: four pixels onto one, weighed 1, 3, 3 and 1 along each side", () => {
  const [red] = fitted(frame(4, 1, [0, 80, 160, 240]), 1, "squash", 1);
  assert.equal(red, Math.floor((0 * 1 + 80 * 3 + 160 * 3 + 240 * 1) / 8 + 0.5));
});

test("where the square is cut out, what lies beside it has no part", () => {
  assert.deepEqual([...fitted(frame(3, 1, [200, 7, 100]), 1, "center_crop", 1)], [7, 8, 9]);
});

test("two crops lie left and right in the frame, and in its middle where it is longer than 4:3", () => {
  const levels = [...fitted(frame(4, 3, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33]), 3, "random_crop", 2)];
  assert.deepEqual(levels.filter((_, i) => i % 3 === 0), [0, 3, 6, 12, 15, 18, 24, 27, 30, 3, 6, 9, 15, 18, 21, 27, 30, 33]);
  assert.deepEqual(region({ height: 30, width: 100 }, "center_crop", 2), { top: 0, left: 30, height: 30, width: 40 });
});
