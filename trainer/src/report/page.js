// Click on a column title sorts the rows of each table body; figures first, missing ones last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const compare = (a, b) => {
      const [x, y] = [a.cells[column], b.cells[column]];
      const [xMissing, yMissing] = [x.textContent === "-", y.textContent === "-"];
      if (xMissing || yMissing) return xMissing - yMissing;
      const [xKey, yKey] = [x.dataset.key, y.dataset.key];
      if (xKey !== undefined && yKey !== undefined) return sign * (Number(xKey) - Number(yKey));
      return sign * x.textContent.localeCompare(y.textContent);
    };
    for (const body of table.tBodies) {
      body.append(...[...body.rows].sort(compare));
    }
  }));
}
