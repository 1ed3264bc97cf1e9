// One card an image, from the page's template: what the Flask page shows for an upload.

import { paint } from "./overlay.js";
import { advice, labelDiffers, notices, percent, percents, ranking, reason, share, text } from "./words.js";

/**
 * A copy of the page's template of that name.
 *
 * @param {string} name
 * @returns {{card: any, find: (part: string) => any}}  and what finds an element in it by its `data-part`
 */
function copy(name) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(name));
  const card = document.importNode(template.content, true).firstElementChild;
  return { card, find: part => card?.querySelector(`[data-part="${part}"]`) };
}

/**
 * @param {string} title
 * @param {string} message
 * @returns {HTMLElement}
 */
export function problem(title, message) {
  const { card, find } = copy("problem");
  find("title").textContent = title;
  find("message").textContent = message;
  return card;
}

let count = 0;

/**
 * @param {{title: string, picture: string}} image  its name, and an address it can be shown from
 * @param {Outputs} outputs
 * @param {Decision} decision
 * @param {Loaded} loaded
 * @returns {HTMLElement}
 */
export function result(image, outputs, decision, loaded) {
  const { card, find } = copy("result"), { model } = loaded;
  const differs = decision.inDomain ? labelDiffers(decision, model) : "";
  number(card, ++count);
  Object.assign(card.dataset, { when: new Date().toISOString(), label: model.labels[decision.best].code, referral: decision.referral });
  find("title").textContent = image.title;
  find("box").classList.add(decision.referral);
  find("advice").textContent = advice(decision, model);
  find("reason").textContent = reason(decision, model);
  find("usable").hidden = find("explanation").hidden = !decision.inDomain;
  if (decision.inDomain) {
    const figures = percents(decision, model);
    find("risk").textContent = figures.risk;
    gauge(find, decision.malignantProbability, figures, model);
  } else {
    find("rests")?.remove();
    find("summary").textContent = text(model, "card.anyway");
  }
  find("likeliest").replaceChildren(...ranking(decision).slice(0, decision.inDomain ? 3 : 0).map(place => likely(place, decision, model)));
  find("notices").replaceChildren(...notices(decision, model).map(notice));
  find("differs").textContent = differs;
  find("differs").hidden = !differs;
  find("rows").replaceChildren(...ranking(decision).map(place => row(place, decision, model)));
  find("facts").prepend(...facts(outputs, decision, loaded).map(fact => item(fact)));
  const { name } = model.labels[decision.best];
  picture(find, image, outputs, decision, model, differs ? text(model, "card.by_rule", { name }) : name);
  return card;
}

/**
 * Give what a card holds names of its own.
 *
 * @param {HTMLElement} card
 * @param {number} place
 */
function number(card, place) {
  for (const element of [card, ...card.querySelectorAll("[id], [aria-labelledby]")]) {
    for (const name of ["id", "aria-labelledby"]) {
      const value = element.getAttribute(name);
      if (value) element.setAttribute(name, value.replaceAll("card", `image-${place}`));
    }
  }
}

/**
 * @param {string} content
 * @param {string} [kind]
 */
function item(content, kind = "li") {
  const element = document.createElement(kind);
  element.textContent = content;
  return element;
}

/**
 * @param {number} place
 * @param {Decision} decision
 * @param {Model} model
 */
function likely(place, decision, model) {
  const { code, malignant, name } = model.labels[place], line = item("");
  const tag = item(text(model, malignant ? "kind.malignant" : "kind.benign"), "span"), label = item(name, "span");
  tag.className = malignant ? "tag malignant" : "tag";
  label.className = "class";
  line.dataset.code = code;
  line.append(label, tag, item(share(decision, model, place), "strong"));
  return line;
}

/** @param {string} content */
function notice(content) {
  const paragraph = item(content, "p");
  paragraph.className = "notice";
  paragraph.setAttribute("role", "note");
  return paragraph;
}

/**
 * @param {(part: string) => any} find
 * @param {number} level
 * @param {ReturnType<typeof percents>} figures
 * @param {Model} model
 */
function gauge(find, level, figures, model) {
  const { threshold, borderline } = model, share = (/** @type {number} */ value) => `${(value * 100).toFixed(2)}%`;
  find("bar").setAttribute("aria-label", text(model, "card.bar", { value: figures.risk, threshold: figures.threshold, borderline: figures.borderline }));
  find("grey").setAttribute("x", share(borderline));
  find("grey").setAttribute("width", share(threshold - borderline));
  find("level").setAttribute("width", share(level));
  find("mark").setAttribute("x1", share(threshold));
  find("mark").setAttribute("x2", share(threshold));
  find("grey-key").textContent = text(model, "card.grey", { value: figures.borderline });
  find("mark-key").textContent = text(model, "card.mark", { value: figures.threshold });
}

/**
 * @param {number} place
 * @param {Decision} decision
 * @param {Model} model
 */
function row(place, decision, model) {
  const line = document.createElement("tr"), name = item(model.labels[place].name, "th");
  name.setAttribute("scope", "row");
  if (place === decision.best && decision.inDomain) {
    const tag = item(text(model, "card.label"), "span");
    tag.className = "tag";
    name.append(" ", tag);
    line.className = "chosen";
  }
  line.append(name, item(share(decision, model, place), "td"), item(decision.scores[place].toFixed(3), "td"));
  return line;
}

/**
 * @param {Outputs} outputs
 * @param {Decision} decision
 * @param {Loaded} loaded
 */
function facts(outputs, decision, { model, threads, provider }) {
  const where = provider === "webgpu" ? "device.on_graphics" : threads === 1 ? "device.one_thread" : "device.threads";
  const time = text(model, "device.time", {
    milliseconds: String(Math.max(1, Math.round(outputs.milliseconds))), where: text(model, where, { threads: String(threads) }),
    width: String(outputs.width), height: String(outputs.height),
  });
  if (!decision.inDomain) return [time];
  const { predictionSet } = decision, members = ranking(decision).map(place => model.labels[place]).filter(({ code }) => predictionSet?.includes(code));
  const classes = members.map(({ name }) => name).join(", ") || text(model, "card.no_class");
  const set = predictionSet ? [text(model, "card.set", { level: percent(model, model.set_level ?? 0), classes })] : [];
  return [...(model.measured ? [model.measured] : []), ...set, time];
}

/**
 * The image, and over it the evidence for the label.
 *
 * @param {(part: string) => any} find
 * @param {{title: string, picture: string}} image
 * @param {Outputs} outputs
 * @param {Decision} decision
 * @param {Model} model
 * @param {string} name  of the label, with why it is another than the likeliest class
 */
function picture(find, image, outputs, decision, model, name) {
  find("image").src = image.picture;
  find("image").alt = text(model, "card.preview", { title: image.title });
  const cells = outputs.maps ? outputs.maps.height * outputs.maps.width : 0;
  const one = outputs.maps?.data.subarray(decision.best * cells, (decision.best + 1) * cells);
  const painted = one && outputs.maps && decision.inDomain ? paint(one, outputs.maps, outputs, model) : null;
  if (!painted) {
    find("controls").remove();
    find("map").remove();
    if (decision.inDomain) find("without").textContent = text(model, outputs.maps ? "card.no_evidence" : "card.no_map", { name });
    return;
  }
  const map = find("map");
  map.width = painted.width;
  map.height = painted.height;
  map.getContext("2d").putImageData(new ImageData(painted.data, painted.width, painted.height), 0, 0);
  find("evidence").textContent = text(model, "card.evidence", { name });
}
