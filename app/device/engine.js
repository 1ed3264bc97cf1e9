// The network, as the page sees it: a worker behind promises.

import { Fault } from "./fault.js";

/** @import {Frame, Loaded, Outputs, Provider} from "./types.js" */

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
    const asked = waiting.get(id);
    if (share !== undefined) return asked?.report(share);
    waiting.delete(id);
    if (error === undefined) asked?.resolve(result);
    else asked?.reject(error.key ? new Fault(error.key, error.values) : new Error(error.message));
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
  const ask = (task, argument, report = () => {}) => new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject, report });
    worker.postMessage({ id: count, task, argument });
  });

  return {
    load: (lend, report) => ask("load", lend, report),
    classify: image => ask("classify", image),
    decode: image => ask("decode", image),
    run: frame => ask("run", frame),
    stop: () => {
      worker.terminate();
      fail(new Fault("stopped"));
    },
  };
}
