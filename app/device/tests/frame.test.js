import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_PIXELS, capped, halvings } from "../../static/bitmap.js";

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
