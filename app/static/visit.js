// What was classified in this visit: in this tab's memory alone, which the browser forgets with the tab.

const KEY = "visit";
const MOST = 60; // entries
const THUMBNAIL = 96; // pixels, the longer side

/** @typedef {{id: string, title: string, advice: string, risk: string, top: string, when: string, picture: string}} Entry */

/** @returns {Entry[]}  the newest first */
function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return []; // storage is forbidden here
  }
}

/** @param {Entry[]} entries */
function store(entries) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(entries.slice(0, MOST)));
  } catch { /* forbidden or full: then this one is not remembered */ }
  show();
}

/**
 * Remember a card, unless it is there already: pages can be loaded again.
 *
 * @param {HTMLElement} card  with `data-when`
 */
export async function remember(card) {
  const text = (/** @type {string} */ part) => card.querySelector(`[data-part="${part}"]`)?.textContent?.trim() ?? "";
  const entry = { id: card.id, title: text("title"), advice: text("advice"), risk: text("risk"), when: card.dataset.when ?? "" };
  const known = stored();
  if (known.some(({ id, when }) => id === entry.id && when === entry.when)) return;
  const top = card.querySelector(".likeliest li:first-child .class")?.textContent?.trim() ?? "";
  const image = /** @type {HTMLImageElement | null} */ (card.querySelector(".stack img"));
  const picture = image ? await thumbnail(image).catch(() => "") : "";
  store([{ ...entry, top, picture }, ...stored()]);
}

/** @param {HTMLImageElement} image */
async function thumbnail(image) {
  await image.decode();
  const scale = Math.min(1, THUMBNAIL / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.8);
}

/** Fill the page's list; without entries there is none. */
export function show() {
  const panel = document.getElementById("visit");
  if (!panel) return;
  const entries = stored();
  panel.hidden = entries.length === 0;
  panel.querySelector("tbody")?.replaceChildren(...entries.map(row));
  /** @type {HTMLElement} */ (panel.querySelector(".forget")).onclick = () => {
    store([]);
    document.getElementById("content")?.focus();
  };
}

/** @param {Entry} entry */
function row({ title, advice, risk, top, when, picture }) {
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
