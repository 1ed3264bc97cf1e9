import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { download, verify } from "../download.js";

const files = { one: [1, 2, 3], two: [4, 5, 6, 7, 8] };
const sizes = { one: 3, two: 5 };
globalThis.fetch = async name => new Response(files[name] && new Uint8Array(files[name]), { status: files[name] ? 200 : 404 });

test("files arrive whole, and the share of both is reported", async () => {
  const shares = [];
  const found = await download(["one", "two"], sizes, share => shares.push(share));
  assert.deepEqual(found.map(content => [...content]), [files.one, files.two]);
  assert.equal(shares.at(-1), 1);
});

test("what is missing, cut short or too long is named", async () => {
  await assert.rejects(download(["none"], { none: 1 }, () => {}), { key: "wrong_status", values: { name: "none", status: 404 } });
  await assert.rejects(download(["one"], { one: 4 }, () => {}), { key: "cut_short", values: { name: "one" } });
  await assert.rejects(download(["one"], { one: 2 }, () => {}), { key: "other_file", values: { name: "one" } });
});

test("a lost connection is not taken for a missing file", async () => {
  const before = globalThis.fetch;
  globalThis.fetch = () => Promise.reject(new TypeError("Failed to fetch"));
  await assert.rejects(download(["one"], sizes, () => {}), { key: "no_connection", values: { name: "one" } });
  globalThis.fetch = before;
});

test("another file than the one expected is refused", async () => {
  const content = new Uint8Array(files.two);
  await verify(content, createHash("sha256").update(content).digest("hex"));
  content[2] = 0;
  await assert.rejects(verify(content, createHash("sha256").update(new Uint8Array(files.two)).digest("hex")), { key: "other_model" });
});
