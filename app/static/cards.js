// The cards, made better: pictures to look into, columns that sort, reports to save, and what this visit remembers.

import { save } from "./report.js";
import { reason, say } from "./say.js";
import "./viewer.js";
import { remember, show } from "./visit.js";

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
  show();
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

liven(document);
