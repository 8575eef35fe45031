"use strict";
// Sorts, filters, and opens the cell of a link; the page is complete without this script.
const cells = JSON.parse(document.getElementById("data").textContent);

function keyOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const numeric = cell.closest("table").tHead.rows[0].cells[column].matches(".number, [data-column]");
  return numeric ? null : cell.textContent.trim();
}

// Cells without a number stay last in both directions; equal keys keep the sweep's order.
function sort(table, column, direction) {
  const body = table.tBodies[0];
  table.original ??= [...body.rows];
  const rows = table.original.map((row) => [direction ? keyOf(row, column) : 0, row]);
  const order = new Intl.Collator("en", { numeric: true });
  const sign = direction === "descending" ? -1 : 1;
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b));
  });
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const state = next[head.ariaSort];
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.ariaSort = "none";
      head.ariaSort = state;
      sort(table, column, state === "none" ? "" : state);
    });
  });
}

const form = document.querySelector("form.filter");
const find = document.getElementById("find");
const flagged = document.getElementById("flagged");

function shows(cell) {
  const text = cell.text.toLowerCase();
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  return (
    words.every((word) => text.includes(word)) &&
    !(flagged?.checked && !cell.flagged) &&
    [...form.querySelectorAll("select")].every(
      (choice) => !choice.value || cell.place[choice.dataset.axis] === choice.value,
    )
  );
}

function filter() {
  const seen = cells.map(shows);
  for (const item of document.querySelectorAll(".list tbody tr")) {
    item.hidden = !seen[item.dataset.cell];
  }
  // One row may be in several places of the matrix, but its details are shown once.
  const rows = new Set(cells.filter((_, number) => seen[number]).map((cell) => cell.anchor));
  for (const item of document.querySelectorAll("details.cell")) {
    item.hidden = !rows.has(Number(item.dataset.cell));
  }
  for (const table of document.querySelectorAll("table.matrix")) {
    const columns = new Set();
    for (const row of table.tBodies[0].rows) {
      const own = [...row.cells].slice(1);
      own.forEach((cell, column) => {
        cell.classList.toggle("off", !seen[cell.dataset.cell]);
        if (seen[cell.dataset.cell]) columns.add(column);
      });
      row.hidden = !own.some((cell) => seen[cell.dataset.cell]);
    }
    for (const row of table.rows) {
      [...row.cells].slice(1).forEach((cell, column) => (cell.hidden = !columns.has(column)));
    }
    table.parentElement.hidden = columns.size === 0;
  }
  const count = seen.filter(Boolean).length;
  form.querySelector("output").textContent =
    count === cells.length ? `${count} cells` : `${count} of ${cells.length} cells`;
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
filter();

function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.hidden = false;
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", open);
open();
