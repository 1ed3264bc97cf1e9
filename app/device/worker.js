// Runs the network away from the page's thread. Every message gets a reply, with the number that it came with.

import { download, get, verify } from "./download.js";
import { Fault } from "./fault.js";
import { fitted } from "./fit.js";
import { decode } from "./frame.js";

/** @import {InferenceSession, TypedTensor} from "onnxruntime-web" */

const RUNTIMES = {
  wasm: { load: () => import("./ort/ort.wasm.min.mjs"), program: "ort/ort-wasm-simd-threaded.wasm" },
  webgpu: { load: () => import("./ort/ort.webgpu.min.mjs"), program: "ort/ort-wasm-simd-threaded.asyncify.wasm" },
};
const worker = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const provider = /** @type {Provider} */ (worker.name);
const MOST_THREADS = 4; // more than a phone has of fast cores makes it slower

/** Named so that the service worker takes it for an earlier version, and forgets it with them. */
const DOWNLOADS = `skin-lesion-lab ${new URL("./", import.meta.url)} downloads`;

/** @type {Model} */
let model;
/** @type {InferenceSession} */
let session;
/** @type {(levels: Float32Array) => TypedTensor<"float32">} */
let tensor;

/**
 * @param {boolean} lend  whether a service worker will want what is downloaded
 * @param {(share: number) => void} report  gets how much has arrived, from 0 to 1
 * @returns {Promise<Loaded>}
 */
async function load(lend, report) {
  if (typeof OffscreenCanvas === "undefined") throw new Fault("old_browser");
  const threads = crossOriginIsolated && provider === "wasm" ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  const { load: runtime, program: name } = RUNTIMES[provider];
  model = await (await get("model.json")).json();
  const cache = lend ? await caches.open(DOWNLOADS).catch(() => undefined) : undefined; // forbidden here and there
  const [program, weights] = await download([name, model.file], model.downloads, report, cache);
  await verify(weights, model.sha256);
  const ort = await runtime();
  ort.env.wasm.wasmBinary = program;
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  session = await ort.InferenceSession.create(weights, {
    executionProviders: [provider],
    extra: { session: { intra_op: { allow_spinning: "0" } } }, // waiting threads would only warm the device
  });
  tensor = levels => new ort.Tensor("float32", levels, [model.crops, model.image_size, model.image_size, 3]);
  const blank = { data: new Uint8Array(600 * 450 * 4), width: 600, height: 450 };
  for (let i = 0; i < 2; i++) await run(blank); // the browser compiles what it sees used
  return { model, threads, provider };
}

/**
 * @param {Frame} frame
 * @returns {Promise<Outputs>}
 */
async function run(frame) {
  const wanted = ["logits", "map", "other_camera", "not_dermatoscopic"].filter(name => model.outputs.includes(name));
  const start = performance.now();
  const outputs = await session.run({ levels: tensor(fitted(frame, model.image_size, model.fit, model.crops)) }, wanted);
  const milliseconds = performance.now() - start;
  /** @param {string} name */
  const values = name => /** @type {Float32Array} */ (outputs[name].data);
  return {
    logits: values("logits"),
    domain: { other_camera: values("other_camera")[0], not_dermatoscopic: values("not_dermatoscopic")[0] },
    maps: outputs.map ? { data: values("map"), height: outputs.map.dims[2], width: outputs.map.dims[3] } : null,
    milliseconds,
    width: frame.width,
    height: frame.height,
  };
}

/** @type {Record<string, (argument: any, report: (share: number) => void) => Promise<unknown>>} */
const TASKS = {
  load,
  run,
  decode: image => decode(image, model.image_size),
  classify: async image => run(await decode(image, model.image_size)),
};

/** @type {Promise<unknown>} */
let last = Promise.resolve();

worker.addEventListener("message", ({ data: { id, task, argument } }) => {
  // One after the other: two at once would need twice the memory and not be done earlier.
  last = last.then(() => TASKS[task](argument, share => worker.postMessage({ id, share }))).then(
    result => worker.postMessage({ id, result }),
    error => worker.postMessage({ id, error: { key: error.key, values: error.values, message: error.message || String(error) } }),
  );
});
