import assert from "node:assert/strict";
import { test } from "node:test";
import { capped, MAX_PIXELS, opaque } from "../frame.js";

test("usual sizes stay as they are", () => {
  for (const [width, height] of [[600, 450], [1600, 1200], [16, 16]]) assert.deepEqual(capped(width, height), { width, height });
});

test("huge images shrink to the limit and keep their proportions", () => {
  for (const [width, height] of [[4000, 3000], [3000, 4000], [12000, 500], [8000, 8000]]) {
    const small = capped(width, height);
    assert.ok(small.width * small.height <= MAX_PIXELS);
    assert.ok(small.width * small.height > 0.99 * MAX_PIXELS);
    assert.ok(Math.abs(small.width / small.height / (width / height) - 1) < 0.01);
  }
});

test("not even a thread of pixels vanishes", () => {
  assert.equal(capped(1, 10 ** 8).width, 1);
});

test("the fourth channel goes", () => {
  assert.deepEqual([...opaque([1, 2, 3, 255, 4, 5, 6, 255])], [1, 2, 3, 4, 5, 6]);
});
