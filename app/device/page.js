// The page: images in by file, camera, drop, paste or example; a card out for each. Nothing leaves the device.

import { livenCard } from "./cards.js";
import { collect } from "./collect.js";
import { crop } from "./crop.js";
import { decide } from "./decision.js";
import { hasGraphics, start, tryGraphics } from "./engine.js";
import { reason, say } from "./say.js";
import { problem, result } from "./view.js";
import { advice, ranking, share } from "./words.js";

/** @param {string} id */
const element = id => /** @type {HTMLElement} */ (document.getElementById(id));

const results = element("results"), status = element("status"), bar = element("bar");
const graphics = /** @type {HTMLInputElement} */ (element("graphics")), graphicsStatus = element("graphics-status");
export const engine = start("wasm");
/** @type {Promise<Loaded>} */
export const loaded = engine.load("serviceWorker" in navigator && !navigator.serviceWorker.controller, progress);

/** @type {Awaited<ReturnType<typeof tryGraphics>>["faster"]}  the graphics processor while it is in use */
let faster = null;

/** @param {number} share */
function progress(share) {
  bar.setAttribute("value", String(share));
  element("percent").textContent = `${Math.round(share * 100)}%`;
  if (share === 1) tell(say("starting"));
}

/** @param {string} text */
function tell(text) {
  status.textContent = text;
}

/**
 * Classify images one after the other; the newest card comes first.
 *
 * @param {Iterable<{name: string, content: Blob}>} images
 */
async function classify(images) {
  const list = [...images];
  for (const [i, image] of list.entries()) {
    busy(list.length > 1 ? i / list.length : null);
    tell(say("classifying", { name: image.name, place: i + 1, count: list.length }));
    const card = await cardOf(image);
    results.prepend(card.node);
    if (card.node.dataset.referral) livenCard(card.node);
    tell(card.summary);
    element("after").hidden = false;
    if (i === 0) card.node.scrollIntoView({ block: "nearest" });
  }
  busy(null);
}

/** @param {number | null} share */
function busy(share) {
  bar.hidden = share === null;
  element("percent").textContent = "";
  if (share !== null) progress(share);
}

/**
 * @param {{name: string, content: Blob}} image
 * @returns {Promise<{node: HTMLElement, summary: string}>}
 */
async function cardOf({ name, content }) {
  try {
    const { about, outputs } = await outputsOf(content);
    const found = decide(about.model, outputs.logits, outputs.domain);
    const [top] = ranking(found), likeliest = about.model.labels[top].name;
    const node = result({ title: name, picture: URL.createObjectURL(content) }, outputs, found, about);
    node.querySelector('[data-part="crop"]')?.addEventListener("click", async () => {
      try {
        const square = await crop(content);
        if (square) classify([{ name, content: square }]);
      } catch {
        tell(say("no_crop", { name }));
      }
    });
    return { node, summary: `${name}: ${advice(found, about.model)}.${found.inDomain ? ` ${likeliest}, ${share(found, about.model, top)}.` : ""}` };
  } catch (error) {
    return { node: problem(name, `${reason(error)}.`), summary: say("unusable", { name }) };
  }
}

/**
 * Where the graphics processor fails, the processor takes over, and goes on alone if it can.
 *
 * @param {Blob} content
 * @returns {Promise<{about: Loaded, outputs: Outputs}>}
 */
async function outputsOf(content) {
  const about = await loaded, quick = faster;
  try {
    if (quick) return { about: quick.loaded, outputs: sound(await quick.engine.classify(content)) };
  } catch { /* the image's fault, or the graphics processor's */ }
  const outputs = await engine.classify(content);
  if (quick && quick === faster) leaveGraphics(say("gave_up"));
  return { about, outputs };
}

/** @param {Outputs} outputs */
function sound(outputs) {
  if (!outputs.logits.every(Number.isFinite)) throw new Error();
  return outputs;
}

/** @param {HTMLButtonElement} button */
const exampleOf = async button => (await fetch(`examples/${button.dataset.example}.jpg`)).blob();

collect(element("choose"), files => classify(files.map(file => ({ name: file.name, content: file }))), tell);

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-example]"))) {
  button.addEventListener("click", async () => {
    classify([{ name: say("example", { name: button.textContent?.trim() ?? "" }), content: await exampleOf(button) }]);
  });
}

element("clear").addEventListener("click", () => {
  for (const image of results.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  results.replaceChildren();
  element("after").hidden = true;
  tell(say("cleared"));
  element("image").focus();
});

// ---- The graphics processor, for who chooses it

/** Try the graphics processor on the examples, and take it if it is as good. */
async function useGraphics() {
  graphics.disabled = true;
  graphicsStatus.textContent = say("trying");
  const { model } = await loaded;
  const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-example]"));
  const frames = Promise.all(Array.from(buttons, async button => engine.decode(await exampleOf(button))));
  try {
    const found = await tryGraphics(engine, model, frames, share => {
      graphicsStatus.textContent = share < 1 ? say("downloading", { percent: Math.round(share * 100) }) : say("comparing");
    });
    leaveGraphics(say(...found.message));
    faster = found.faster;
  } catch (error) {
    leaveGraphics(say("not_running", { reason: reason(error) }));
  }
  graphics.checked = Boolean(faster);
  graphics.disabled = false;
  remember(graphics.checked);
}

/** @param {string} why */
function leaveGraphics(why) {
  faster?.engine.stop();
  faster = null;
  graphics.checked = false;
  graphicsStatus.textContent = why;
}

graphics.addEventListener("change", () => {
  if (graphics.checked) return useGraphics();
  remember(false);
  leaveGraphics(say("unused"));
});

const CHOICE = `graphics ${new URL("./", location.href).pathname}`; // other pages of this server have choices of their own

/** @param {boolean} used */
function remember(used) {
  try {
    if (used) localStorage.setItem(CHOICE, "yes");
    else localStorage.removeItem(CHOICE);
  } catch { /* forbidden here: it will have to be chosen each time */ }
}

function remembered() {
  try {
    return localStorage.getItem(CHOICE) === "yes";
  } catch {
    return false;
  }
}

/** Offer the graphics processor where there is one; who has chosen it before has it again. */
async function offerGraphics() {
  if (!await hasGraphics()) return;
  element("setting").hidden = false;
  graphics.checked = remembered();
  if (graphics.checked) useGraphics();
}

// ---- Once the network is there

/** Store the page on the device, by its service worker; say so, and offer its new versions. */
async function storePage() {
  if (!("serviceWorker" in navigator)) return; // browsers have it on https and localhost only
  const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  const update = element("update");
  const offer = () => (update.hidden = !(registration.waiting && navigator.serviceWorker.controller));
  const follow = () => registration.installing?.addEventListener("statechange", offer);
  registration.addEventListener("updatefound", follow);
  follow(); // the browser looks for updates while the page loads
  offer();
  update.querySelector("button")?.addEventListener("click", () => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload());
    registration.waiting?.postMessage("take over");
  });
  await navigator.serviceWorker.ready;
  element("offline").hidden = false;
}

loaded.then(({ threads }) => {
  busy(null);
  tell(say("ready"));
  document.documentElement.dataset.ready = String(threads);
  offerGraphics();
  storePage().catch(() => {}); // then it needs the network each time
}, error => {
  busy(null);
  element("failed").hidden = false;
  element("failed").append(` ${reason(error)}.`);
  tell("");
});
