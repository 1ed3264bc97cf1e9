// What goes wrong, as a key of app/words: the worker, where most of it does, has no words of its own.

export class Fault extends Error {
  /**
   * @param {string} key  of app/words' fault
   * @param {Record<string, string | number>} [values]
   */
  constructor(key, values = {}) {
    super(`${key} ${JSON.stringify(values)}`);
    this.key = key;
    this.values = values;
  }
}
