// The pictures of the cards: the map over them, and a larger view to zoom in.

const ZOOM = 1.5; // a step
const MOST = 8;

/** @param {string} part */
const find = part => /** @type {any} */ (document.querySelector(`#viewer [data-part="${part}"]`));

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("viewer"));
let scale = 1;

/**
 * Bring a card's picture to life.
 *
 * @param {Element} card
 */
export function liven(card) {
  const stack = card.querySelector(".stack"), map = /** @type {HTMLElement | null} */ (card.querySelector(".map"));
  const open = /** @type {HTMLElement | null} */ (card.querySelector(".enlarge"));
  if (!stack || !open) return;
  open.hidden = false;
  open.addEventListener("click", () => enlarge(card, stack));
  stack.addEventListener("click", () => enlarge(card, stack));
  const slider = /** @type {HTMLInputElement | null} */ (card.querySelector(".opacity input"));
  if (!map || !slider) return;
  const cover = () => (map.style.opacity = String(Number(slider.value) / 100));
  /** @type {HTMLElement} */ (slider.parentElement).hidden = false;
  slider.addEventListener("input", cover);
  cover();
}

/**
 * @param {Element} card
 * @param {Element} stack
 */
function enlarge(card, stack) {
  const [image, map] = [stack.querySelector("img"), stack.querySelector(".map")];
  const large = copy(stack);
  find("sheet").replaceChildren(large);
  find("title").textContent = image?.alt ?? "";
  find("map").hidden = !map || /** @type {HTMLElement} */ (map).hidden;
  find("map").setAttribute("aria-pressed", String(shown(card)));
  large.classList.toggle("bare", !shown(card));
  zoom(1);
  dialog.showModal();
  find("sheet").focus();
}

/** @param {Element} stack */
function copy(stack) {
  const large = /** @type {HTMLElement} */ (stack.cloneNode(true));
  const drawn = stack.querySelector("canvas"); // whose content cloning leaves behind
  if (drawn) large.querySelector("canvas")?.getContext("2d")?.drawImage(drawn, 0, 0);
  return large;
}

/** @param {Element} card */
const shown = card => Boolean(/** @type {HTMLInputElement | null} */ (card.querySelector(".show-map"))?.checked);

/** @param {number} wanted  1 fits the window */
function zoom(wanted) {
  const sheet = find("sheet"), share = { x: centre(sheet.scrollLeft, sheet.clientWidth, sheet.scrollWidth), y: centre(sheet.scrollTop, sheet.clientHeight, sheet.scrollHeight) };
  scale = Math.min(MOST, Math.max(1, wanted));
  sheet.firstElementChild.style.setProperty("--scale", String(scale));
  sheet.scrollLeft = share.x * sheet.scrollWidth - sheet.clientWidth / 2; // what was in the middle stays there
  sheet.scrollTop = share.y * sheet.scrollHeight - sheet.clientHeight / 2;
  find("scale").value = `${Math.round(scale * 100)}%`;
}

/**
 * @param {number} start
 * @param {number} seen
 * @param {number} all
 */
const centre = (start, seen, all) => all ? (start + seen / 2) / all : 0.5;

function toggle() {
  const bare = find("sheet").firstElementChild.classList.toggle("bare");
  find("map").setAttribute("aria-pressed", String(!bare));
}

/** @type {Record<string, () => void>} */
const ACTIONS = { in: () => zoom(scale * ZOOM), out: () => zoom(scale / ZOOM), whole: () => zoom(1), map: toggle };
/** @type {Record<string, keyof typeof ACTIONS>} */
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "whole", m: "map", M: "map" };

for (const [part, act] of Object.entries(ACTIONS)) find(part).addEventListener("click", act);
dialog.addEventListener("keydown", event => {
  const action = KEYS[event.key];
  if (action && !event.ctrlKey && !event.metaKey && !find(action).hidden) ACTIONS[action]();
});
find("sheet").addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
  if (!event.ctrlKey) return; // without, it scrolls
  event.preventDefault();
  zoom(event.deltaY < 0 ? scale * ZOOM : scale / ZOOM);
}, { passive: false });

/** On the page, M shows and hides the map of the card that has the focus. */
document.addEventListener("keydown", event => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key.toLowerCase() !== "m" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches("textarea, input[type=text]")) return;
  /** @type {HTMLInputElement | null | undefined} */ (target.closest(".result")?.querySelector(".show-map"))?.click();
});
