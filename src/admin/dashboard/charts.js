// Charts in SVG, each with a legend that shows current values and a table of all values.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 170;
const BELOW = 20;
const LEFT = 62;

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  return fill(node, attributes, children);
}

function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  return fill(node, attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function swatch(colour) {
  return svg("svg", { viewBox: "0 0 10 10", class: "swatch", "aria-hidden": "true" },
    svg("rect", { width: 10, height: 10, rx: 2, fill: `var(--${colour})` }));
}

function stroke(colour, dashed) {
  return svg("svg", { viewBox: "0 0 22 10", class: "stroke", "aria-hidden": "true" },
    svg("line", { x2: 22, y1: 5, y2: 5, ...pen(colour, dashed) }));
}

function pen(colour, dashed) {
  return { stroke: `var(--${colour})`, "stroke-width": 2, ...(dashed ? { "stroke-dasharray": "5 4" } : {}) };
}

/** A bar filled to this share. */
export function bar(share, colour) {
  return svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", class: "share", "aria-hidden": "true" },
    svg("rect", { width: 100, height: 8, rx: 2, fill: "var(--grid)" }),
    svg("rect", { width: 100 * share, height: 8, rx: 2, fill: `var(--${colour})` }));
}

/** Steps between the times on an axis, in seconds. */
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 14400, 21600];

/** All charts have the same points, and show the values at the same one. */
const charts = [];
let cursor = null;

function move(at) {
  cursor = at;
  for (const chart of charts) chart.showValues();
}

/**
 * A chart over time in a figure.
 *
 * series: [{ name, colour, of(point), dashed }], where `of` returns a number or null.
 * stacked: stacked areas, else lines. logarithmic: for values that span powers of ten.
 * base: of the round numbers on the scale. most: the end of the scale, if it does not depend on the
 * values shown.
 */
export class Chart {
  constructor(id, { series, format, stacked = false, logarithmic = false, base = 10, most = null }) {
    Object.assign(this, { series, format, stacked, logarithmic, base, most, drawn: [] });
    charts.push(this);
    this.figure = document.getElementById(id);
    this.title = this.figure.querySelector("figcaption").textContent;
    this.picture = svg("svg", { role: "img", tabindex: "0" });
    this.values = series.map(() => element("b"));
    this.at = element("li", { class: "quiet" });
    this.legend = element("ul", { class: "legend" }, this.at, ...series.map((line, index) =>
      element("li", {}, stacked ? swatch(line.colour) : stroke(line.colour, line.dashed), `${line.name} `, this.values[index])));
    this.table = element("table");
    const all = element("details", {}, element("summary", {}, "As a table"),
      element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${this.title}, as a table` }, this.table));
    all.addEventListener("toggle", () => this.tabulate());
    this.details = all;
    this.figure.append(this.picture, this.legend, all);
    this.picture.addEventListener("pointermove", (event) => move(this.nearest(event.offsetX)?.at ?? null));
    this.picture.addEventListener("pointerleave", () => move(null));
    this.picture.addEventListener("keydown", (event) => this.stepBy(event));
    new ResizeObserver(() => this.draw()).observe(this.picture);
  }

  /**
   * Shows these points, of which the newest is at `now` and the oldest `span` seconds before.
   * started: the time of zero, in seconds since 1970.
   */
  show(points, now, span, started) {
    Object.assign(this, { points, now, span, started });
    this.draw();
    this.tabulate();
  }

  draw() {
    const width = this.picture.clientWidth;
    if (!this.points || width === 0) return;
    this.width = width;
    const rows = this.rows();
    const top = this.top(rows);
    const bottom = this.logarithmic ? 1e-5 : 0;
    const x = (at) => LEFT + (width - LEFT) * (1 - (this.now - at) / this.span);
    const plain = (value) => (value - bottom) / (top - bottom || 1);
    const powers = (value) => Math.log(Math.max(value, bottom) / bottom) / Math.log(top / bottom);
    const share = this.logarithmic ? powers : plain;
    const y = (value) => 6 + (HEIGHT - BELOW - 6) * (1 - Math.min(1, share(value)));
    const parts = [];
    for (const value of this.ticks(top)) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
        svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, this.format(value)));
    }
    this.labels = [];
    for (const at of this.times(width)) {
      const label = svg("text", { x: x(at), y: HEIGHT - 4, "text-anchor": "middle" }, time(this.started + at, this.step));
      this.labels.push([x(at), label]);
      parts.push(svg("line", { class: "grid", x1: x(at), x2: x(at), y1: HEIGHT - BELOW, y2: HEIGHT - BELOW + 4 }), label);
    }
    parts.push(...(this.stacked ? this.areas(rows, x, y) : this.lines(rows, x, y)));
    this.when = svg("text", { y: HEIGHT - 4, "text-anchor": "middle" });
    this.cursor = svg("g", { class: "cursor", visibility: "hidden" },
      svg("line", { y2: HEIGHT - BELOW }), this.when);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.picture.replaceChildren(...parts, this.cursor);
    this.drawn = rows.map((row) => ({ x: x(row.at), ...row }));
    this.showValues();
  }

  rows() {
    return this.points
      .filter((point) => point.at > this.now - this.span)
      .map((point) => ({ at: point.at, span: point.seconds, values: this.series.map((line) => line.of(point)) }));
  }

  top(rows) {
    if (this.most) return this.most(rows.flatMap((row) => row.values));
    const sum = (values) => values.reduce((one, other) => one + (other ?? 0), 0);
    const highest = rows.map((row) => this.stacked ? sum(row.values) : Math.max(0, ...row.values.map((value) => value ?? 0)));
    const most = Math.max(0, ...highest);
    if (this.logarithmic) return Math.max(1e-3, 10 ** Math.ceil(Math.log10(Math.max(most, 1e-4))));
    return round(most, this.base);
  }

  ticks(top) {
    if (!this.logarithmic) return [0, top / 2, top];
    const powers = [];
    for (let value = top; value >= 0.99e-5; value /= 10) powers.push(value);
    return powers.length > 5 ? powers.filter((_, index) => index % 2 === 0) : powers;
  }

  /** Round local times within the span, as many as there is room for. */
  times(width) {
    const most = Math.max(2, (width - LEFT) / 80);
    this.step = STEPS.find((step) => this.span / step <= most) ?? STEPS.at(-1);
    const zone = new Date(this.started * 1000).getTimezoneOffset() * 60;
    const local = (at) => this.started + at - zone;
    const times = [];
    // Not where the text would be cut off.
    const [first, last] = [this.now - this.span * 0.97, this.now - this.span * 0.03];
    for (let at = first + (this.step - local(first) % this.step) % this.step; at <= last; at += this.step) times.push(at);
    return times;
  }

  /** One path per series, one step per point: a count belongs to the whole span of its point. */
  areas(rows, x, y) {
    const bases = rows.map(() => 0);
    return this.series.map((line, index) => {
      const steps = rows.map((row, position) => {
        const low = bases[position];
        const high = low + (row.values[index] ?? 0);
        bases[position] = high;
        if (high === low) return "";
        const [left, right] = [Math.max(LEFT, x(row.at - row.span)), x(row.at)];
        return `M${left},${y(low)}V${y(high)}H${right}V${y(low)}Z`;
      });
      return svg("path", { d: steps.join(""), fill: `var(--${line.colour})` });
    });
  }

  lines(rows, x, y) {
    return this.series.flatMap((line, index) => {
      let next = "M";
      const steps = [];
      const isolated = [];
      rows.forEach((row, position) => {
        const value = row.values[index];
        if (value == null) {
          next = "M";
          return;
        }
        const [left, high] = [Math.max(LEFT, x(row.at)), y(value)];
        steps.push(`${next}${left},${high}`);
        const isIsolated = next === "M" && rows[position + 1]?.values[index] == null;
        if (isIsolated) isolated.push(svg("circle", { cx: left, cy: high, r: 2, fill: `var(--${line.colour})` }));
        next = "L";
      });
      return [svg("path", {
        d: steps.join(""), fill: "none", "stroke-linejoin": "round", ...pen(line.colour, line.dashed),
      }), ...isolated];
    });
  }

  stepBy(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction || this.drawn.length === 0) return;
    event.preventDefault();
    const position = this.drawn.findIndex((row) => row.at === cursor);
    const next = position < 0 ? this.drawn.length - 1 : position + direction;
    move(this.drawn[Math.min(this.drawn.length - 1, Math.max(0, next))].at);
  }

  nearest(offset) {
    const distance = (row) => Math.abs(row.x - offset);
    return this.drawn.reduce((best, row) => best && distance(best) <= distance(row) ? best : row, null);
  }

  /** Shows the values of the point under the cursor, else of the newest one. */
  showValues() {
    const selected = this.drawn.find((row) => row.at === cursor);
    const row = selected ?? this.drawn.at(-1);
    if (!this.cursor) return;
    this.cursor.setAttribute("visibility", selected ? "visible" : "hidden");
    const when = selected ? time(this.started + selected.at, 1) : "now";
    this.at.textContent = `${when}:`;
    if (selected) {
      this.cursor.setAttribute("transform", `translate(${selected.x} 0)`);
      this.when.textContent = when;
      const room = Math.min(0, this.width - 32 - selected.x);
      this.when.setAttribute("transform", `translate(${room} 0)`);
    }
    // A label that the time under the cursor would cover.
    for (const [x, label] of this.labels) {
      label.setAttribute("visibility", selected && Math.abs(x - selected.x) < 70 ? "hidden" : "visible");
    }
    this.values.forEach((value, index) => {
      value.textContent = row?.values[index] == null ? "–" : this.format(row.values[index]);
    });
    const parts = this.series.map((line, index) => `${line.name} ${this.values[index].textContent}`);
    this.picture.setAttribute("aria-label", `${this.title}, ${when}: ${parts.join(", ")}`);
  }

  tabulate() {
    if (!this.details.open || !this.points) return;
    const cell = (text) => element("td", { class: "number" }, text);
    const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "time"),
      ...this.series.map((line) => element("th", { scope: "col", class: "number" }, line.name))));
    const body = this.rows().reverse().map((row) => element("tr", {},
      element("th", { scope: "row" }, time(this.started + row.at, 1)),
      ...row.values.map((value) => cell(value == null ? "–" : this.format(value)))));
    this.table.replaceChildren(head, element("tbody", {}, ...body));
  }
}

/** A local time of day, with seconds if they matter. */
function time(epoch, step) {
  const text = new Date(epoch * 1000).toTimeString();
  return text.slice(0, step < 60 ? 8 : 5);
}

/** The next round number above: a few steps for each power of ten, or of ten in its unit of bytes. */
function round(most, base) {
  if (most <= 0) return 1;
  const unit = base === 10 ? 1 : base ** Math.floor(Math.log(Math.max(1, most)) / Math.log(base));
  const power = unit * 10 ** Math.floor(Math.log10(most / unit));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= most);
}
