// Sorts and searches the table of presets.
const table = document.getElementById("preset-table");
const body = table.tBodies[0];
const rows = [...body.rows];
const search = document.getElementById("preset-search");

function key(row, column) {
  const cell = row.cells[column];
  return "key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent;
}

function sort(column, descending) {
  const sign = descending ? -1 : 1;
  rows.sort((a, b) => {
    const [x, y] = [key(a, column), key(b, column)];
    return sign * (typeof x === "number" ? x - y : x.localeCompare(y));
  });
  body.append(...rows);
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("preset-count").textContent = `${shown} of ${rows.length} presets`;
}

table.tHead.querySelectorAll("th").forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const sorted = head.getAttribute("aria-sort");
    // Accuracy is first sorted from the highest, everything else from the lowest.
    const descending = sorted ? sorted === "ascending" : head.textContent.startsWith("top-1");
    table.tHead.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sort(column, descending);
  });
});
search.addEventListener("input", filter);
filter();
