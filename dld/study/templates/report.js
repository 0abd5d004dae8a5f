"use strict";

// Sorting: a click on a column sorts by it, numbers the largest first; another click turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    const numbers = [...body.rows].every((row) => value(row) !== "" && !Number.isNaN(Number(value(row))));
    const before = head.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : !numbers;
    const compare = numbers ? (a, b) => Number(value(a)) - Number(value(b))
      : (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
    body.append(...[...body.rows].sort((a, b) => ascending ? compare(a, b) : compare(b, a)));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  }));
}

// The chart tells the figures of the mark that is pointed at, and hides models.
const readout = document.getElementById("readout");
for (const point of document.querySelectorAll(".point")) {
  const tell = () => { readout.textContent = point.getAttribute("aria-label"); };
  point.addEventListener("pointerenter", tell);
  point.addEventListener("focus", tell);
}
for (const box of document.querySelectorAll("input[data-model]")) {
  box.addEventListener("change", () => {
    for (const series of document.querySelectorAll(".series")) {
      if (series.dataset.model === box.dataset.model) series.toggleAttribute("hidden", !box.checked);
    }
  });
}

// A click on a picture shows it as large as the window; ids stay with the original.
const dialog = document.getElementById("enlarged");
for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => {
    const copy = button.querySelector("svg").cloneNode(true);
    copy.querySelectorAll("[id]").forEach((element) => element.removeAttribute("id"));
    dialog.querySelector("div").replaceChildren(copy);
    dialog.showModal();
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
