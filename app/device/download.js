// The large files, with progress, and proof that they are the right ones.

import { Fault } from "./fault.js";

/** @param {string} name */
export async function get(name) {
  const response = await fetch(name).catch(() => null);
  if (response?.ok) return response;
  throw response ? new Fault("wrong_status", { name, status: response.status }) : new Fault("no_connection", { name });
}

/**
 * Fetch files at once.
 *
 * @param {string[]} names
 * @param {Record<string, number>} sizes  bytes of each, uncompressed: which a compressed response's length does not tell
 * @param {(share: number) => void} report
 * @param {Cache} [cache]  gets a copy of each, for the service worker to find
 * @returns {Promise<Uint8Array<ArrayBuffer>[]>}
 */
export async function download(names, sizes, report, cache) {
  const total = names.reduce((sum, name) => sum + sizes[name], 0);
  let arrived = 0;
  return Promise.all(names.map(async name => {
    const content = new Uint8Array(sizes[name]);
    const response = await get(name);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    let at = 0;
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (at + part.value.length > content.length) throw new Fault("other_file", { name });
      content.set(part.value, at);
      at += part.value.length;
      arrived += part.value.length;
      report(arrived / total);
    }
    if (at < content.length) throw new Fault("cut_short", { name });
    const headers = { "Content-Type": response.headers.get("Content-Type") ?? "" };
    await cache?.put(name, new Response(content, { headers })).catch(() => {}); // no room: it will come again
    return content;
  }));
}

/**
 * @param {Uint8Array<ArrayBuffer>} content
 * @param {string} sha256  hexadecimal
 */
export async function verify(content, sha256) {
  if (!globalThis.crypto?.subtle) return; // browsers have it on https and localhost only
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = Array.from(digest, byte => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) throw new Fault("other_model");
}
