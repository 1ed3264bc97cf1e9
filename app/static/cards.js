// The cards, made better: pictures to look into, columns that sort, reports to save, and what this visit remembers.

import { sortable } from "./overview.js";
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
