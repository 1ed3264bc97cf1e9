// The cards, made better: pictures to look into, columns that sort, reports to save, and what this visit remembers.

import { jpegOf, save } from "./report.js";
import { reason, say } from "./say.js";
import "./viewer.js";

/**
 * Bring what is below an element to life.
 *
 * @param {ParentNode} content
 */
export async function liven(content) {
  for (const table of content.querySelectorAll(".overview table")) sortable(/** @type {HTMLTableElement} */ (table));
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (content.querySelectorAll("[data-print]"))) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
  showVisit();
  for (const card of /** @type {NodeListOf<HTMLElement>} */ (content.querySelectorAll(".result[data-referral]"))) await livenCard(card);
}

/** @param {HTMLElement} card */
export async function livenCard(card) {
  const report = /** @type {HTMLElement | null} */ (card.querySelector(".report"));
  if (report) {
    const failed = /** @type {HTMLElement} */ (report.querySelector("[role=alert]"));
    report.hidden = false;
    report.querySelector(".save")?.addEventListener("click", () => save(card).then(() => (failed.hidden = true), error => {
      failed.textContent = say("report_failed", { reason: reason(error) });
      failed.hidden = false;
    }));
  }
  await remember(card);
}

/**
 * Let the columns of an overview of several images sort when their headings are pressed.
 *
 * @param {HTMLTableElement} table  cells sort by `data-value`, as numbers where they are numbers
 */
function sortable(table) {
  const headings = /** @type {HTMLElement[]} */ ([...table.querySelectorAll("thead th")]);
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach(other => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(table, column, down ? -1 : 1);
    });
  });
}

/**
 * @param {HTMLTableElement} table
 * @param {number} column
 * @param {1 | -1} way
 */
function sort(table, column, way) {
  const body = table.tBodies[0];
  const value = (/** @type {HTMLTableRowElement} */ row) => row.cells[column].dataset.value ?? row.cells[column].innerText;
  body.append(...[...body.rows].sort((a, b) => {
    const [first, second] = [value(a), value(b)];
    if (!first || !second) return Number(!first) - Number(!second); // what has no value comes last
    return way * (isFinite(+first) && isFinite(+second) ? +first - +second : first.localeCompare(second, undefined, { numeric: true }));
  }));
}

// ---- What was classified in this visit: in this tab's memory alone, which the browser forgets with the tab

const VISIT = "visit"; // its key in the storage
const MOST = 60; // entries
const THUMBNAIL = 96; // pixels, the longer side

/** @typedef {{id: string, title: string, advice: string, risk: string, top: string, when: string, picture: string}} Entry */

/** @returns {Entry[]}  the newest first */
function storedVisit() {
  try {
    return JSON.parse(sessionStorage.getItem(VISIT) ?? "[]");
  } catch {
    return []; // storage is forbidden here
  }
}

/** @param {Entry[]} entries */
function storeVisit(entries) {
  try {
    sessionStorage.setItem(VISIT, JSON.stringify(entries.slice(0, MOST)));
  } catch { /* forbidden or full: then this one is not remembered */ }
  showVisit();
}

/**
 * Remember a card, unless it is there already: pages can be loaded again.
 *
 * @param {HTMLElement} card  with `data-when`
 */
async function remember(card) {
  const text = (/** @type {string} */ part) => card.querySelector(`[data-part="${part}"]`)?.textContent?.trim() ?? "";
  const entry = { id: card.id, title: text("title"), advice: text("advice"), risk: text("risk"), when: card.dataset.when ?? "" };
  const known = storedVisit();
  if (known.some(({ id, when }) => id === entry.id && when === entry.when)) return;
  const top = card.querySelector(".likeliest li:first-child .class")?.textContent?.trim() ?? "";
  const image = /** @type {HTMLImageElement | null} */ (card.querySelector(".stack img"));
  const picture = image ? await jpegOf(image, THUMBNAIL, 0.8).catch(() => "") : "";
  storeVisit([{ ...entry, top, picture }, ...storedVisit()]);
}

/** Fill the page's list; without entries there is none. */
function showVisit() {
  const panel = document.getElementById("visit");
  if (!panel) return;
  const entries = storedVisit();
  panel.hidden = entries.length === 0;
  panel.querySelector("tbody")?.replaceChildren(...entries.map(visitRow));
  /** @type {HTMLElement} */ (panel.querySelector(".forget")).onclick = () => {
    storeVisit([]);
    document.getElementById("content")?.focus();
  };
}

/** @param {Entry} entry */
function visitRow({ title, advice, risk, top, when, picture }) {
  const line = document.createElement("tr"), image = new Image();
  [image.src, image.alt] = [picture, ""];
  const time = when && new Date(when).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  [title, risk, advice, top, time].forEach((text, column) => {
    const cell = document.createElement(column ? "td" : "th");
    if (!column) cell.setAttribute("scope", "row");
    if (!column && picture) cell.append(image);
    cell.append(text);
    line.append(cell);
  });
  return line;
}

liven(document);
