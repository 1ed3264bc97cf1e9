// A case report: one card as a file of its own, with its pictures inside; made here, sent nowhere.

import { say } from "./say.js";

const SHEET = { width: 188, height: 257 }; // mm: what the margins of report.css leave of A4 and of letter paper
const SMALLEST = 0.6; // of the usual size; who writes more lines than fit then gets a second page
const PATIENCE = 3000; // milliseconds that laying it out may take to begin

/**
 * Let the browser save the report of a card.
 *
 * @param {HTMLElement} card  a card with a `.report` form
 * @throws where a style sheet or a picture cannot be had
 */
export async function save(card) {
  const title = card.querySelector('[data-part="title"]')?.textContent?.trim() ?? "";
  const body = element("body"), main = element("main"), kept = /** @type {HTMLElement} */ (card.cloneNode(true));
  const notes = /** @type {HTMLTextAreaElement} */ (card.querySelector(".report textarea")).value.trim();
  await inline(kept, card);
  main.append(kept, ...parts("#limits"));
  body.append(...parts("#report"), main);
  /** @type {HTMLElement} */ (body.querySelector("time")).textContent = new Date(card.dataset.when ?? "").toLocaleString([], { dateStyle: "long", timeStyle: "short" });
  /** @type {HTMLElement} */ (body.querySelector(".notes p")).textContent = notes;
  if (!notes) body.querySelector(".notes")?.remove();
  const style = await rules(), zoom = await fitting(body, style).catch(() => 1); // where it cannot be laid out, as it is
  const print = `@media print { body { zoom: ${zoom} } }`;
  const head = `<meta charset="utf-8">${element("title", {}, title).outerHTML}<style>${style}${print}</style>`;
  const text = `<!doctype html>\n<html lang="${document.documentElement.lang}"><head>${head}</head>\n${body.outerHTML}</html>\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/html" }));
  link.download = `${say("report_file", { title: title.replace(/\.\w+$/, "") }).replace(/[^\p{L}\p{N} ._-]/gu, "_")}.html`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {string} name  of a template */
const parts = name => /** @type {HTMLElement} */ (/** @type {HTMLTemplateElement} */ (document.querySelector(name)).content.cloneNode(true)).children;

/**
 * Put a copy's pictures inside it, the map beside the original, and take away what only works on a page.
 *
 * @param {HTMLElement} copy
 * @param {HTMLElement} card
 */
async function inline(copy, card) {
  copy.querySelectorAll(".report, button, label, .unprinted").forEach(element => element.remove());
  copy.querySelectorAll("details").forEach(details => (details.open ||= card.dataset.referral !== "none"));
  const original = /** @type {HTMLImageElement | null} */ (card.querySelector(".stack img"));
  const stack = copy.querySelector(".stack"), drawn = card.querySelector(".map");
  if (!original || !stack) return;
  const plain = element("img", { src: await address(original), alt: original.alt });
  stack.replaceChildren(plain);
  if (!drawn) return;
  const name = drawn.getAttribute("alt") ?? drawn.getAttribute("aria-label") ?? "", beside = /** @type {Element} */ (stack.cloneNode(true));
  beside.append(element("img", { src: await address(drawn), alt: name, class: "map" }));
  stack.after(beside);
}

/**
 * A picture as a `data:` address.
 *
 * @param {Element} picture
 * @returns {Promise<string>}
 */
async function address(picture) {
  if (picture instanceof HTMLCanvasElement) return picture.toDataURL();
  const image = /** @type {HTMLImageElement} */ (picture);
  return image.src.startsWith("data:") ? image.src : jpegOf(image, 1024, 0.9);
}

/**
 * A small copy of a picture, as a `data:` address.
 *
 * @param {HTMLImageElement} image
 * @param {number} longest  side, in pixels
 * @param {number} quality  of the JPEG, from 0 to 1
 */
export async function jpegOf(image, longest, quality) {
  await image.decode();
  const scale = Math.min(1, longest / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", quality);
}

/**
 * The zoom at which a report fits one page, however much stands in it; found by laying it out as wide as the paper.
 *
 * @param {HTMLElement} body
 * @param {string} style
 * @returns {Promise<number>}
 * @throws where it cannot be laid out here
 */
async function fitting(body, style) {
  const frame = /** @type {HTMLIFrameElement} */ (element("iframe", { srcdoc: "<!doctype html>", "aria-hidden": "true", tabindex: "-1" }));
  frame.style.cssText = `border: 0; height: 0; position: fixed; visibility: hidden; width: ${SHEET.width}mm`;
  try {
    await new Promise((resolve, reject) => {
      frame.addEventListener("load", resolve, { once: true });
      setTimeout(reject, PATIENCE);
      document.body.append(frame);
    });
    const { document: paper, CSSStyleSheet } = /** @type {Window & typeof globalThis} */ (frame.contentWindow);
    const copy = paper.importNode(body, true), sheet = new CSSStyleSheet();
    sheet.replaceSync(style); // the policy of the page allows no style element
    paper.adoptedStyleSheets = [sheet];
    paper.body.replaceWith(copy);
    await Promise.all([...copy.querySelectorAll("img")].map(image => image.decode()));
    copy.style.maxWidth = "none"; // as on paper
    let zoom = 100;
    while (paper.documentElement.scrollHeight > SHEET.height * 96 / 25.4 && zoom > SMALLEST * 100) copy.style.zoom = `${--zoom}%`;
    return zoom / 100;
  } finally {
    frame.remove();
  }
}

const SHEETS = ["result.css", "report.css"].map(name => new URL(`./${name}`, import.meta.url));
const rules = async () => (await Promise.all(SHEETS.map(async sheet => (await fetch(sheet)).text()))).join("\n");

/**
 * @param {string} name
 * @param {Record<string, string>} [attributes]
 * @param {string} [text]
 */
function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.textContent = text;
  return made;
}
