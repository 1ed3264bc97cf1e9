// The service worker: one cache a version, filled as a whole and answered from, so that the page needs no network.
// app/device/build.py puts SITE before it: the version, the headers, and every file with its SHA-256. Files for `later`
// are kept once they have been asked for.

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

// Caches belong to the whole origin, where other copies of this page may live under other paths.
const family = `skin-lesion-lab ${worker.registration.scope} `;
const current = family + SITE.version;

worker.addEventListener("install", event => event.waitUntil(fill()));

worker.addEventListener("activate", event => event.waitUntil(Promise.all([forget(), worker.clients.claim()])));

worker.addEventListener("message", event => {
  if (event.data === "take over") worker.skipWaiting();
});

worker.addEventListener("fetch", event => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(worker.registration.scope)) event.respondWith(respond(event.request));
});

/** All files or none: what differs from its hash belongs to another version, and stops the installation. */
async function fill() {
  const names = (await caches.keys()).filter(name => name.startsWith(family));
  const earlier = await Promise.all(names.map(name => caches.open(name)));
  const cache = await caches.open(current);
  const used = await Promise.all(Object.entries(SITE.later).map(async file =>
    (await Promise.all(earlier.map(cache => cache.match(file[0])))).some(Boolean) ? [file] : []));
  await Promise.all([...Object.entries(SITE.files), ...used.flat()].map(async ([name, integrity]) => {
    await store(cache, name, await held(name, integrity, earlier) ?? await fetched(name, integrity));
  }));
}

/**
 * With headers of our own, the page is as protected, and may use threads, wherever it is served from.
 *
 * @param {Cache} cache
 * @param {string} name
 * @param {Response} response
 */
async function store(cache, name, response) {
  const type = response.headers.get("Content-Type") ?? "application/octet-stream";
  await cache.put(name, new Response(await response.blob(), { headers: { ...SITE.headers, "Content-Type": type } }));
}

/**
 * A file that the page or an attempt has downloaded, or that is still as in an earlier version: nothing comes twice.
 *
 * @param {string} name
 * @param {string | null} integrity
 * @param {Cache[]} earlier
 */
async function held(name, integrity, earlier) {
  for (const cache of integrity ? earlier : []) {
    const response = await cache.match(name);
    if (!response) continue;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.clone().arrayBuffer()));
    if (integrity === `sha256-${btoa(String.fromCharCode(...digest))}`) return response;
  }
}

/**
 * @param {string} name
 * @param {string | null} integrity  null for the page itself, to which its server may have added navigation
 */
async function fetched(name, integrity) {
  const response = await fetch(name, integrity ? { cache: "no-cache", integrity } : { cache: "no-cache" });
  if (!response.ok) throw new Error(`${name} could not be fetched (status ${response.status})`);
  return response;
}

/** @param {Request} request */
async function respond(request) {
  const cache = await caches.open(current);
  const name = request.url.replace(/\/index\.html$/, "/");
  const known = await cache.match(name, { ignoreSearch: true });
  const path = name.slice(worker.registration.scope.length), integrity = SITE.later[path];
  if (known || !integrity) return known ?? fetch(request);
  const response = await fetched(path, integrity);
  await store(cache, path, response.clone()).catch(() => {}); // no room: it will come again
  return response;
}

async function forget() {
  const names = await caches.keys();
  await Promise.all(names.filter(name => name.startsWith(family) && name !== current).map(name => caches.delete(name)));
}
