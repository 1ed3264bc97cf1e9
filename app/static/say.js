// The words that scripts need, which the page hands over on its body.

/** @type {Record<string, string>} */
const words = JSON.parse(document.body.dataset.words ?? "{}");

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values]  for the `{names}` in it
 */
export const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/**
 * Why something failed: in the page's words where they have the error's key, else in the browser's.
 *
 * @param {any} error
 */
export const reason = error => error?.key in words ? say(error.key, error.values) : error?.message || String(error);
