// The network, as the page sees it: a worker behind promises. A second one, on the graphics processor, is taken where it
// gives the first one's predictions in less time.

import { decide } from "./decision.js";
import { Fault } from "./fault.js";

/** @typedef {ReturnType<typeof start>} Engine */

/**
 * Start a worker.
 *
 * @param {Provider} provider
 * @returns {{
 *   load: (lend: boolean, report?: (share: number) => void) => Promise<Loaded>,
 *   classify: (image: Blob) => Promise<Outputs>,
 *   decode: (image: Blob) => Promise<Frame>,
 *   run: (frame: Frame) => Promise<Outputs>,
 *   stop: () => void,
 * }}
 */
export function start(provider) {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: provider });
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, report: (share: number) => void}>} */
  const waiting = new Map();
  let count = 0;

  worker.addEventListener("message", ({ data: { id, share, error, result } }) => {
    const call = waiting.get(id);
    if (share !== undefined) return call?.report(share);
    waiting.delete(id);
    if (error === undefined) call?.resolve(result);
    else call?.reject(error.key ? new Fault(error.key, error.values) : new Error(error.message));
  });
  worker.addEventListener("error", event => fail(event.message ? new Error(event.message) : new Fault("not_started")));

  /** @param {Error} reason */
  function fail(reason) {
    for (const { reject } of waiting.values()) reject(reason);
    waiting.clear();
  }

  /**
   * @param {string} task
   * @param {unknown} argument
   * @param {(share: number) => void} [report]
   * @returns {Promise<any>}
   */
  const request = (task, argument, report = () => {}) => new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject, report });
    worker.postMessage({ id: count, task, argument });
  });

  return {
    load: (lend, report) => request("load", lend, report),
    classify: image => request("classify", image),
    decode: image => request("decode", image),
    run: frame => request("run", frame),
    stop: () => {
      worker.terminate();
      fail(new Fault("stopped"));
    },
  };
}

// ---- The graphics processor

/** @typedef {[string, Record<string, string>]} Message  a key of app/words' device, and values */

const TOLERANCE = 1e-3; // in a probability, and in shares of a domain score or an activation map

/** Whether there is a graphics processor. Where a program plays its part, the processor is faster by itself. */
export async function hasGraphics() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && !adapter.info?.isFallbackAdapter);
}

/**
 * Start the network on it, and compare that with the processor.
 *
 * @param {Engine} plain
 * @param {Model} model
 * @param {Promise<Frame[]>} frames  to compare on
 * @param {(share: number) => void} report  gets how much has arrived, from 0 to 1
 * @returns {Promise<{message: Message, faster: {engine: Engine, loaded: Loaded} | null}>}  what came of it
 * @throws where it does not run
 */
export async function tryGraphics(plain, model, frames, report) {
  const engine = start("webgpu");
  try {
    const loaded = await engine.load(false, report);
    /** @type {[Outputs, Outputs][]} */
    const pairs = [];
    for (const frame of await frames) pairs.push([await plain.run(frame), await engine.run(frame)]);
    const { use, message } = verdict(model, pairs);
    if (!use) engine.stop();
    return { message, faster: use ? { engine, loaded } : null };
  } catch (error) {
    engine.stop();
    throw error;
  }
}

/**
 * @param {Model} model
 * @param {[Outputs, Outputs][]} pairs  of the same frames, by processor and graphics processor
 * @returns {{use: boolean, message: Message}}
 */
export function verdict(model, pairs) {
  if (!pairs.every(([one, other]) => difference(model, one, other) <= TOLERANCE)) {
    return { use: false, message: ["other_predictions", {}] };
  }
  const [before, after] = [0, 1].map(i => Math.min(...pairs.map(pair => pair[i].milliseconds)));
  return { use: after < before, message: [after < before ? "in_use" : "slower", { after: after.toFixed(), before: before.toFixed() }] };
}

/**
 * How far two outputs are apart.
 *
 * @param {Model} model
 * @param {Outputs} one
 * @param {Outputs} other
 */
function difference(model, one, other) {
  if (![...other.logits, ...Object.values(other.domain), ...(other.maps?.data ?? [])].every(Number.isFinite)) return Infinity;
  const [a, b] = [one, other].map(({ logits, domain }) => decide(model, logits, domain));
  const apart = a.probabilities.map((p, i) => Math.abs(p - b.probabilities[i]));
  for (const name of /** @type {const} */ (["other_camera", "not_dermatoscopic"])) {
    apart.push(Math.abs(one.domain[name] - other.domain[name]) / (1 + Math.abs(one.domain[name])));
  }
  if (one.maps && other.maps) {
    const theirs = other.maps.data, most = Math.max(...one.maps.data.map(Math.abs));
    apart.push(Math.max(...one.maps.data.map((value, i) => Math.abs(value - theirs[i]))) / most);
  }
  return Math.max(...apart);
}
