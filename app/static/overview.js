// The overview of several images: its columns sort when their headings are pressed.

/** @param {HTMLTableElement} table  cells sort by `data-value`, as numbers where they are numbers */
export function sortable(table) {
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
  const order = (/** @type {string} */ a, /** @type {string} */ b) => (a && b ? a.localeCompare(b, undefined, { numeric: true }) : 0);
  body.append(...[...body.rows].sort((a, b) => {
    const [first, second] = [value(a), value(b)];
    if (!first || !second) return Number(!first) - Number(!second); // what has no value comes last
    return way * (isFinite(+first) && isFinite(+second) ? +first - +second : order(first, second));
  }));
}
