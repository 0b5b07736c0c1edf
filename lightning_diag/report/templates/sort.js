"use strict";
// A click on a heading sorts its table: by the rate in "21/29 = 72 % [54, 85]", else by the first number, else as text.
const key = (cell) => {
  const text = cell.textContent.trim().replaceAll("−", "-").replaceAll(",", "");
  const found = text.match(/= (-?[\d.]+) %/) || text.match(/^[^\d]{0,2}?(-?[\d.]+(?:e-?\d+)?)/);
  return found ? parseFloat(found[1]) : text ? text.toLowerCase() : null;
};
const order = (a, b) => {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
};
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [key(row.cells[head.cellIndex]), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? order(a, b) : down ? order(b, a) : order(a, b)));
    body.append(...rows.map(([, row]) => row));
  });
}
