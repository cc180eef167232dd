"use strict";
(() => {
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

/* Runs and findings: what is not chosen is hidden on the screen. */
const choose = document.querySelector(".choose");
function apply() {
  const runs = new Set(all("input[name=run]:checked", choose).map((box) => box.value));
  const finding = choose.elements.finding.value;
  for (const each of all("[data-run]")) each.classList.toggle("off-run", !runs.has(each.dataset.run));
  for (const each of all("[data-finding]"))
    each.classList.toggle("off-finding", finding !== "" && each.dataset.finding !== finding);
}
if (choose) {
  choose.hidden = false;
  choose.addEventListener("change", apply);
  new ResizeObserver(() => { /* what a link leads to stands below the bar */
    const height = getComputedStyle(choose).position === "sticky" ? choose.offsetHeight : 0;
    document.documentElement.style.setProperty("--bar", `${height}px`);
  }).observe(choose);
  choose.addEventListener("submit", (event) => event.preventDefault());
  choose.querySelector(".theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
  });
}

/* Tables: stable, numbers as numbers, what is undefined last either way. */
const words = new Intl.Collator(undefined, { numeric: true });
function keyOf(cell) {
  if (!cell) return null;
  if (cell.dataset.v !== undefined) return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  return cell.textContent.trim() || null;
}
function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : words.compare(String(a), String(b));
}
function sort(table, head) {
  const isDown = head.getAttribute("aria-sort") === "ascending";
  for (const each of all("th[aria-sort]", table)) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [keyOf(row.cells[head.cellIndex]), row]);
  const there = keyed.filter(([key]) => key !== null).sort(([a], [b]) => (isDown ? compare(b, a) : compare(a, b)));
  body.append(...[...there, ...keyed.filter(([key]) => key === null)].map(([, row]) => row));
}
for (const table of all("table:not(.on-paper table)")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const head of all("thead tr:last-child th", table)) {
    const button = make("button", head.querySelector("a") ? "" : head.textContent);
    button.type = "button";
    if (head.querySelector("a")) button.setAttribute("aria-label", `sort by ${head.textContent}`);
    else head.textContent = "";
    head.append(button);
    button.addEventListener("click", () => sort(table, head));
  }
}

/* Charts: the nearest point, under the pointer or by the arrow keys. */
const tip = document.getElementById("tip");
const tidy = (value) => String(Number(value.toPrecision(3)));
function pointsOf(svg) {
  const [left, top, width, height] = svg.dataset.plot.split(" ").map(Number);
  const [x0, x1, y0, y1] = svg.dataset.domain.split(" ").map(Number);
  const found = [];
  for (const group of all("g[data-name]", svg)) {
    if (group.classList.contains("off-run")) continue;
    for (const dot of all(".p", group)) {
      const [x, y] = dot.dataset.at.split(",").map(Number);
      found.push({ x, y, group, text: dot.dataset.text });
    }
    if (group.classList.contains("line"))
      for (const line of all("polyline", group))
        for (const { x, y } of line.points) {
          const [across, up] = [x0 + ((x - left) / width) * (x1 - x0), y0 + (1 - (y - top) / height) * (y1 - y0)];
          const text = `${group.dataset.name}: ${svg.dataset.x} ${tidy(across)}, ${svg.dataset.y} ${tidy(up)}`;
          found.push({ x, y, group, text });
        }
  }
  return found;
}
function say(svg, point) {
  let ring = svg.querySelector(".near");
  if (!ring) {
    ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", "near");
    ring.setAttribute("r", "5");
    svg.append(ring);
  }
  ring.setAttribute("cx", point.x);
  ring.setAttribute("cy", point.y);
  tip.textContent = point.text;
  tip.hidden = false;
  const at = new DOMPoint(point.x, point.y).matrixTransform(svg.getScreenCTM());
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(at.x + 12, innerWidth - box.width - 4))}px`;
  tip.style.top = `${at.y - box.height - 10 > 0 ? at.y - box.height - 10 : at.y + 14}px`;
}
function hush(svg) {
  tip.hidden = true;
  svg.querySelector(".near")?.remove();
}
for (const svg of all("svg.chart")) {
  let now = -1;
  for (const title of all("g > title", svg)) {
    title.parentNode.dataset.text = title.textContent; /* said by the tip: not twice */
    title.remove();
  }
  svg.setAttribute("aria-label", ["title", "desc"].map((tag) => svg.querySelector(tag).textContent).join(". "));
  svg.removeAttribute("aria-labelledby");
  svg.querySelector("title").remove();
  svg.tabIndex = 0;
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const far = (point) => Math.hypot(point.x - at.x, point.y - at.y);
    const points = pointsOf(svg);
    if (points.length) say(svg, points.reduce((best, point) => (far(point) < far(best) ? point : best)));
  });
  svg.addEventListener("pointerleave", () => hush(svg));
  svg.addEventListener("blur", () => hush(svg));
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) move(0); });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hush(svg);
    if (!step && event.key !== "Home") return;
    event.preventDefault();
    move(step ?? -Infinity);
  });
  function move(step) {
    const points = pointsOf(svg);
    if (!points.length) return;
    now = Math.max(0, Math.min(points.length - 1, now + (now < 0 ? 1 : step)));
    say(svg, points[now]);
  }
}

/* Examples of a kind, a finding, a run. */
const filter = document.querySelector(".filter");
function choosePictures() {
  const wanted = { kind: "kind", finding: "ofFinding", run: "ofRun" };
  const examples = all(".example");
  for (const each of examples)
    each.classList.toggle("off-filter", Object.entries(wanted).some(([name, key]) => {
      const { value } = filter.elements[name];
      return value !== "" && each.dataset[key] !== value;
    }));
  const shown = examples.filter((each) => !each.classList.contains("off-filter")).length;
  filter.querySelector("output").textContent = `${shown} of ${examples.length}`;
}
if (filter) {
  filter.hidden = false;
  filter.addEventListener("change", choosePictures);
  filter.addEventListener("submit", (event) => event.preventDefault());
}

/* Commands to copy; where the browser gives no clipboard to files, the text is marked. */
for (const code of all(".code")) {
  const button = make("button", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    const text = code.querySelector("code");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.append(button);
}

/* On paper everything is open. */
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details:not([open])");
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
})();
