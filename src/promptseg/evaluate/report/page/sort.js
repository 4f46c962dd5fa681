// A click on a heading sorts its table; numbers by value, cells without one last.
for (const heading of document.querySelectorAll("table.sortable th")) {
  const button = document.createElement("button");
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const column = [...heading.parentNode.children].indexOf(heading);
    const body = heading.closest("table").tBodies[0];
    const text = (row) => row.cells[column].textContent.trim();
    const numeric = heading.classList.contains("n");
    const compare = (a, b) => {
      if (!numeric) return rising ? text(a).localeCompare(text(b)) : text(b).localeCompare(text(a));
      const [x, y] = [parseFloat(text(a)), parseFloat(text(b))];
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return rising ? x - y : y - x;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
