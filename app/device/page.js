// The page: images in by file, camera, drop, paste or example; a card out for each. Nothing leaves the device.

import { answer } from "./answer.js";
import { start } from "./engine.js";
import { keep } from "./keep.js";
import { problem, result } from "./view.js";
import { advice, percent } from "./words.js";

/** @import {Loaded} from "./types.js" */

/** @param {string} id */
const element = id => /** @type {HTMLElement} */ (document.getElementById(id));

const drop = element("choose"), results = element("results"), status = element("status"), bar = element("bar");
export const engine = start();
/** @type {Promise<Loaded>} */
export const loaded = engine.load("serviceWorker" in navigator && !navigator.serviceWorker.controller, progress);

/** @param {number} share */
function progress(share) {
  bar.setAttribute("value", String(share));
  if (share === 1) say("Starting the network…");
}

/** @param {string} text */
function say(text) {
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
    say(`Classifying ${image.name}${list.length > 1 ? ` (${i + 1} of ${list.length})` : ""}…`);
    const card = await look(image);
    results.prepend(card.node);
    say(card.summary);
    element("after").hidden = false;
    if (i === 0) card.node.scrollIntoView({ block: "nearest" });
  }
}

/** @param {{name: string, content: Blob}} image */
async function look({ name, content }) {
  try {
    const about = await loaded;
    const outputs = await engine.classify(content);
    const found = answer(about.model, outputs.logits, outputs.domain);
    const chosen = about.model.labels[found.best].name, share = percent(found.probabilities[found.best]);
    const node = result({ title: name, picture: URL.createObjectURL(content) }, outputs, found, about);
    return { node, summary: `${name}: ${chosen}, ${share}. ${advice(found)}.` };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { node: problem(name, `${message}.`), summary: `${name} cannot be used.` };
  }
}

/** @param {Iterable<File> | null | undefined} files */
function take(files) {
  classify(Array.from(files ?? [], file => ({ name: file.name, content: file })));
}

for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("input[type=file]"))) {
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    input.value = ""; // so that the same file can be chosen again
    take(files);
  });
}

for (const kind of /** @type {const} */ (["dragover", "dragleave", "drop"])) {
  // On the window: a file dropped beside the form would otherwise replace the page.
  window.addEventListener(kind, event => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}

window.addEventListener("paste", event => {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  take(event.clipboardData.files);
});

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-example]"))) {
  button.addEventListener("click", async () => {
    const content = await (await fetch(`examples/${button.dataset.example}.jpg`)).blob();
    classify([{ name: `Example ${button.textContent?.trim()}`, content }]);
  });
}

element("clear").addEventListener("click", () => {
  for (const image of results.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  results.replaceChildren();
  element("after").hidden = true;
  say("The results are gone from this page.");
  element("image").focus();
});

loaded.then(({ threads }) => {
  bar.hidden = true;
  say("Ready.");
  document.documentElement.dataset.ready = String(threads);
  keep(element("offline"), element("update")).catch(() => {}); // then it needs the network each time
}, error => {
  bar.hidden = true;
  element("failed").hidden = false;
  element("failed").append(` ${error.message}.`);
  say("");
});
