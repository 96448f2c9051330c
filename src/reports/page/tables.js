"use strict";
/* Theme, sortable tables and row filters. Works on any table of the class `sortable`. */

(() => {
  const order = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const remember = (theme) => { try { localStorage.setItem("medharness-theme", theme); } catch { /* private window */ } };
  const recall = () => { try { return localStorage.getItem("medharness-theme"); } catch { return null; } };
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `${{ auto: "◐", light: "○", dark: "●" }[theme]} Theme: ${theme}`;
  };
  let theme = order.includes(recall()) ? recall() : "auto";
  show(theme);
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    remember(theme);
    show(theme);
  });
})();

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const next = { none: "descending", descending: "ascending", ascending: "none" };
      const first = head.classList.contains("n") ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort") ?? "none";
      const direction = first === "descending" ? next[now] : { none: "ascending", ascending: "descending", descending: "none" }[now];
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", direction);
      const rows = [...original];
      if (direction !== "none") {
        const sign = direction === "descending" ? -1 : 1;
        rows.sort((a, b) => {
          const [x, y] = [key(a, column), key(b, column)];
          return x === "" || y === "" ? compare(x, y) : sign * compare(x, y);
        });
      }
      table.classList.toggle("sorted", direction !== "none");
      body.append(...rows);
    });
  });
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  const rows = [...document.getElementById(input.dataset.filters).tBodies[0].rows];
  const status = document.getElementById(`${input.dataset.filters}-status`);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    status.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}
