(() => {
  "use strict";
  const FIRST = 50;
  const root = document.documentElement;

  const theme = document.querySelector(".theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = { get: () => { try { return localStorage.getItem("report-theme"); } catch { return null; } },
                 set: (value) => { try { localStorage.setItem("report-theme", value); } catch { /* a file may have none */ } } };
  if (["light", "dark"].includes(kept.get())) root.dataset.theme = kept.get();
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    kept.set(root.dataset.theme);
  });

  for (const board of document.querySelectorAll(".board")) {
    const controls = board.querySelector(".controls"), input = controls.querySelector("input");
    const output = controls.querySelector("output"), more = controls.querySelector(".more");
    const body = board.querySelector("tbody"), heads = [...board.querySelectorAll("th")];
    let rows = [...body.rows];
    const texts = new Map(rows.map((row) => [row, row.innerText.toLowerCase()]));
    let all = rows.length <= FIRST;
    const count = (n) => n.toLocaleString("en");
    const show = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let found = 0, shown = 0;
      for (const row of rows) {
        const fits = words.every((word) => texts.get(row).includes(word));
        found += fits;
        row.hidden = !fits || (!all && shown >= FIRST);
        shown += !row.hidden;
      }
      output.textContent = `${count(shown)} of ${count(rows.length)} rows` + (found > shown && words.length ? `, ${count(found)} found` : "");
      more.hidden = found <= FIRST;
      more.textContent = all ? "Show fewer" : `Show all ${count(found)}`;
    };
    const value = (row, at) => {
      const cell = row.cells[at];
      return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent === "–" ? null : cell.textContent;
    };
    const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
    heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      rows = rows.map((row) => [value(row, at), row]).sort(([a], [b]) =>
        a === null || b === null ? (a === null) - (b === null) : sign * order(a, b)).map(([, row]) => row);
      body.append(...rows);
      show();
    }));
    input.addEventListener("input", show);
    more.addEventListener("click", () => { all = !all; show(); });
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.hidden = false;
    show();
  }

  const tip = document.getElementById("tip");
  const place = (event) => {
    const mark = event.target.closest?.("[data-tip]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const box = tip.getBoundingClientRect(), edge = 8;
    const x = Math.min(Math.max(event.clientX - box.width / 2, edge), root.clientWidth - box.width - edge);
    const above = event.clientY - box.height - 14;
    tip.style.transform = `translate(${x}px, ${above < edge ? event.clientY + 18 : above}px)`;
  };
  document.addEventListener("pointermove", place, { passive: true });
  document.addEventListener("pointerdown", place, { passive: true });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

  const links = new Map([...document.querySelectorAll("nav a[href^='#']")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      links.forEach((link) => link.classList.remove("here"));
      links.get(entry.target.id)?.classList.add("here");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  document.querySelectorAll("main section").forEach((section) => seen.observe(section));
})();
