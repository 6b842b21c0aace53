// Charts that speak: pointing at a column, or stepping to it with the arrow keys, marks it and says its row of the data
// table in a line above the chart; Enter follows the row's link, if it has one. A chart is `figure.fig` with `svg.chart`
// and `details.data`; the table's rows are the chart's columns in order, or with `data-rows` its lines from the top.
// Without script the <title>s and the table remain.
const SVG = "http://www.w3.org/2000/svg";
const charts = new WeakMap();

function prepare(svg) {
  const rows = [...(svg.closest("figure.fig")?.querySelectorAll("details.data tbody tr") ?? [])];
  const plot = svg.querySelector(":scope > svg.plot");
  if (!rows.length || !plot || charts.has(svg)) return;
  const reading = document.createElement("p");
  reading.className = "reading";
  reading.setAttribute("role", "status");
  svg.before(reading);
  svg.setAttribute("tabindex", "0");
  charts.set(svg, { rows, plot, reading, marks: [], place: -1 });
}

function sentence(row) {
  if (row.dataset.said) return row.dataset.said;
  const heads = [...row.closest("table").querySelectorAll("thead th")].map((head) => head.textContent.trim());
  const [title, ...cells] = [...row.cells].map((cell) => cell.textContent.trim());
  return `${title}: ${cells.map((cell, place) => `${heads[place + 1]} ${cell}`).join(", ")}`;
}

function read(svg, place) {
  const chart = charts.get(svg);
  if (!chart || chart.place === place) return;
  leave(svg);
  chart.place = place;
  chart.reading.textContent = sentence(chart.rows[place]);
  const begin = `${(place / chart.rows.length) * 100}%`;
  const size = `${100 / chart.rows.length}%`;
  const end = `${((place + 1) / chart.rows.length) * 100}%`;
  const alongRows = svg.hasAttribute("data-rows");
  chart.marks = alongRows
    ? [shape("rect", { class: "pointed", x: 0, width: "100%", y: begin, height: size }),
       shape("line", { class: "pointed-edge", x1: 0, x2: 0, y1: begin, y2: end })]
    : [shape("rect", { class: "pointed", x: begin, width: size, y: 0, height: "100%" }),
       shape("line", { class: "pointed-edge", x1: begin, x2: end, y1: "100%", y2: "100%" })];
  chart.plot.append(...chart.marks);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function leave(svg) {
  const chart = charts.get(svg);
  if (!chart) return;
  for (const mark of chart.marks) mark.remove();
  chart.marks = [];
  chart.place = -1;
  chart.reading.textContent = "";
}

// Which column, or line, lies under the pointer; -1 beside the plot.
function under(svg, event) {
  const { rows, plot } = charts.get(svg);
  const box = svg.getBoundingClientRect();
  const part = svg.hasAttribute("data-rows")
    ? (event.clientY - box.top) / Number(plot.getAttribute("height"))
    : (event.clientX - box.left) / box.width;
  return part >= 0 && part < 1 ? Math.floor(part * rows.length) : -1;
}

// The place that a key leads to; undefined for a key that is not ours.
function led(key, place, count) {
  switch (key) {
    case "ArrowRight":
    case "ArrowDown":
      return Math.min(place + 1, count - 1);
    case "ArrowLeft":
    case "ArrowUp":
      return place < 0 ? count - 1 : Math.max(place - 1, 0);
    case "Home":
      return 0;
    case "End":
      return count - 1;
  }
}

const prepareAll = (root) => root.querySelectorAll("figure.fig svg.chart").forEach(prepare);
const chartOf = (event) => event.target.closest?.("svg.chart[tabindex]");

function point(event) {
  const svg = chartOf(event);
  if (!charts.has(svg)) return;
  const place = under(svg, event);
  if (place < 0) leave(svg);
  else read(svg, place);
}

document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point); // a finger's tap does not move

document.addEventListener("pointerout", (event) => {
  const svg = chartOf(event);
  if (svg && event.pointerType === "mouse" && !svg.contains(event.relatedTarget)) leave(svg);
});

document.addEventListener("keydown", (event) => {
  const svg = event.target;
  const chart = charts.get(svg);
  if (!chart || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape") return leave(svg);
  if (event.key === "Enter") return chart.rows[chart.place]?.querySelector("th a")?.click();
  const place = led(event.key, chart.place, chart.rows.length);
  if (place === undefined) return;
  event.preventDefault();
  read(svg, place);
});

document.addEventListener("focusout", (event) => leave(event.target));
document.addEventListener("htmx:load", (event) => prepareAll(event.target));
prepareAll(document);
