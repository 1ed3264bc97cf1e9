// The words that scripts need, which the page hands over on its body.

/** @type {Record<string, string>} */
const words = JSON.parse(document.body.dataset.words ?? "{}");

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values]  for the `{names}` in it
 */
export const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
