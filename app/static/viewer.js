// The pictures of the cards: the map over them, and a larger view to zoom in. Cards that come later have them, too.

const ZOOM = 1.5; // a step
const MOST = 8;

/** @param {string} part */
const find = part => /** @type {any} */ (document.querySelector(`#viewer [data-part="${part}"]`));

let scale = 1;

/**
 * @param {Element} card
 * @param {Element} stack
 */
function enlarge(card, stack) {
  const [image, map] = [stack.querySelector("img"), stack.querySelector(".map")];
  const sheet = find("sheet"), large = copy(stack);
  sheet.replaceChildren(large);
  sheet.onwheel = wheel;
  find("title").textContent = image?.alt ?? "";
  find("map").hidden = !map || /** @type {HTMLElement} */ (map).hidden;
  find("map").setAttribute("aria-pressed", String(shown(card)));
  large.classList.toggle("bare", !shown(card));
  zoom(1);
  sheet.closest("dialog").showModal();
  sheet.focus();
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
/** @type {Record<string, string>} */
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "whole", m: "map", M: "map" };

/** @param {WheelEvent} event */
function wheel(event) {
  if (!event.ctrlKey) return; // without, it scrolls
  event.preventDefault();
  zoom(event.deltaY < 0 ? scale * ZOOM : scale / ZOOM);
}

document.addEventListener("click", event => {
  const target = /** @type {HTMLElement} */ (event.target), card = target.closest(".result");
  const stack = target.closest(".stack, .enlarge") && card?.querySelector(".stack");
  if (card && stack) enlarge(card, stack);
  ACTIONS[/** @type {HTMLElement | null} */ (target.closest("#viewer button"))?.dataset.part ?? ""]?.();
});
document.addEventListener("input", event => {
  const slider = /** @type {HTMLInputElement} */ (event.target);
  if (!slider.matches(".opacity input")) return;
  /** @type {HTMLElement} */ (slider.closest(".picture")?.querySelector(".map")).style.opacity = String(Number(slider.value) / 100);
});
document.addEventListener("keydown", event => {
  const target = /** @type {HTMLElement} */ (event.target), action = KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey || target.matches("textarea, input[type=text], [contenteditable=true]")) return;
  if (target.closest("#viewer")) {
    if (!find(action).hidden) ACTIONS[action]();
  } else if (action === "map") /** @type {HTMLElement | null | undefined} */ (target.closest(".result")?.querySelector(".show-map"))?.click();
});
