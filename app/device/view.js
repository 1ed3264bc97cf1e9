// One card an image, from the page's template: what the Flask page shows for an upload.

import { paint } from "./overlay.js";
import { advice, labelDiffers, notices, percent, ranking, reason } from "./words.js";

/** @import {Decision, Loaded, Model, Outputs} from "./types.js" */

/**
 * A copy of the page's template of that name.
 *
 * @param {string} name
 * @returns {(part: string) => any} finds an element by its `data-part`; "" is the card
 */
function copy(name) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(name));
  const card = /** @type {Element} */ (document.importNode(template.content, true).firstElementChild);
  return part => part ? card.querySelector(`[data-part="${part}"]`) : card;
}

/**
 * @param {string} title
 * @param {string} message
 * @returns {HTMLElement}
 */
export function problem(title, message) {
  const find = copy("problem");
  find("title").textContent = title;
  find("message").textContent = message;
  return find("");
}

/**
 * @param {{title: string, picture: string}} image  its name, and an address it can be shown from
 * @param {Outputs} outputs
 * @param {Decision} decision
 * @param {Loaded} loaded
 * @returns {HTMLElement}
 */
export function result(image, outputs, decision, { model, threads, provider }) {
  const find = copy("result");
  find("file").textContent = image.title;
  find("advice").classList.add(decision.referral);
  find("advised").textContent = advice(decision, model);
  find("likeliest").replaceChildren(...ranking(decision).slice(0, decision.inDomain ? 3 : 0).map(place => likely(place, decision, model)));
  find("notices").replaceChildren(...notices(decision, model).map(notice));
  find("differs").textContent = decision.inDomain ? labelDiffers(decision, model) : "";
  find("gauge").toggleAttribute("hidden", !decision.inDomain);
  find("reason").textContent = reason(decision, model);
  find("measured").textContent = model.measured;
  gauge(find, decision.malignantProbability, model.threshold);
  find("rows").replaceChildren(...ranking(decision).map(place => row(place, decision, model)));
  find("time").textContent = `${Math.max(1, Math.round(outputs.milliseconds))} ms in the network on this device, ` +
    `${provider === "webgpu" ? "on its graphics processor" : threads === 1 ? "with one thread" : `with ${threads} threads`}; ` +
    `${outputs.width} × ${outputs.height} pixels read.`;
  picture(find, image, outputs, decision, model);
  return find("");
}

/**
 * @param {number} place
 * @param {Decision} decision
 * @param {Model} model
 */
function likely(place, decision, model) {
  const item = document.createElement("li");
  item.textContent = `${model.labels[place].name}, ${percent(model, decision.probabilities[place])}`;
  item.dataset.code = model.labels[place].code;
  return item;
}

/** @param {string} text */
function notice(text) {
  const paragraph = document.createElement("p");
  paragraph.className = "notice";
  paragraph.setAttribute("role", "note");
  paragraph.textContent = text;
  return paragraph;
}

/**
 * @param {(part: string) => any} find
 * @param {number} level
 * @param {number} threshold
 */
function gauge(find, level, threshold) {
  const point = `${(threshold * 100).toFixed(2)}%`;
  const words = find("point");
  find("level").setAttribute("width", `${(level * 100).toFixed(2)}%`);
  find("mark").setAttribute("x1", point);
  find("mark").setAttribute("x2", point);
  words.setAttribute("x", point);
  if (threshold > 0.5) {
    words.setAttribute("text-anchor", "end");
    words.setAttribute("dx", "-0.3em");
  }
}

/**
 * @param {number} place
 * @param {Decision} decision
 * @param {Model} model
 */
function row(place, decision, model) {
  const find = copy("row");
  find("class").textContent = model.labels[place].name;
  find("chosen").hidden = place !== decision.best;
  find("").classList.toggle("chosen", place === decision.best);
  find("bar").setAttribute("width", (decision.probabilities[place] * 100).toFixed(2));
  find("bar").setAttribute("fill", model.labels[place].color);
  find("probability").textContent = percent(model, decision.probabilities[place]);
  find("score").textContent = decision.scores[place].toFixed(3);
  return find("");
}

/**
 * The image, and over it the evidence for the class.
 *
 * @param {(part: string) => any} find
 * @param {{title: string, picture: string}} image
 * @param {Outputs} outputs
 * @param {Decision} decision
 * @param {Model} model
 */
function picture(find, image, outputs, decision, model) {
  const name = model.labels[decision.best].name;
  find("image").src = image.picture;
  find("image").alt = `Preview of ${image.title}`;
  const cells = outputs.maps ? outputs.maps.height * outputs.maps.width : 0;
  const one = outputs.maps?.data.subarray(decision.best * cells, (decision.best + 1) * cells);
  const painted = one && outputs.maps ? paint(one, outputs.maps, outputs, model) : null;
  find("controls").hidden = !painted;
  find("map").hidden = !painted;
  if (!painted) {
    find("without").textContent = outputs.maps ? `No single part of the image is evidence for ${name}.`
      : "This network has no class activation map.";
    return;
  }
  const map = find("map"), slider = find("slider");
  map.width = painted.width;
  map.height = painted.height;
  map.getContext("2d").putImageData(new ImageData(painted.data, painted.width, painted.height), 0, 0);
  find("evidence").textContent = `Show the evidence for ${name}`;
  const cover = () => (map.style.opacity = String(slider.value / 100));
  slider.addEventListener("input", cover);
  cover();
}
