"use strict";

const $ = (selector) => document.querySelector(selector);

/** Create an element with properties and children; strings become text, never markup. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Return a number with 4 digits, large ones with M or G. */
function readable(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(4))} G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))} M`;
  return `${Number(value.toPrecision(4))}`;
}

const COLORS = ["#e69f00", "#009e73", "#cc79a7", "#d55e00", "#8f7fe0", "#56b4e9", "#a08000"];

/** The chart: series of points {name, color, x, y, line, radius}; the first one can be picked. */
const chart = {
  canvas: $("#canvas"), series: [], titles: ["", ""], picked: null, box: null,

  /** Draw everything anew. */
  draw() {
    const { canvas } = this;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    this.box = { left: 62, top: 8, right: width - 12, bottom: height - 42 };
    const { left, top, right, bottom } = this.box;
    this.x = axis(this.series.map((s) => s.x), left, right);
    this.y = axis(this.series.map((s) => s.y), bottom, top);
    pen.font = "12px system-ui, sans-serif"; pen.lineWidth = 1;
    pen.textBaseline = "middle"; pen.textAlign = "right";
    for (const tick of this.y.ticks) {
      const at = this.y.at(tick);
      pen.strokeStyle = color("--grid"); line(pen, left, at, right, at);
      pen.fillStyle = color("--soft"); pen.fillText(readable(tick), left - 6, at);
    }
    pen.textBaseline = "top"; pen.textAlign = "center";
    for (const tick of this.x.ticks) {
      const at = this.x.at(tick);
      pen.strokeStyle = color("--grid"); line(pen, at, top, at, bottom);
      pen.fillStyle = color("--soft"); pen.fillText(readable(tick), at, bottom + 5);
    }
    pen.fillStyle = color("--ink");
    pen.fillText(this.titles[0], (left + right) / 2, height - 17);
    pen.save(); pen.translate(4, (top + bottom) / 2); pen.rotate(-Math.PI / 2);
    pen.fillText(this.titles[1], 0, 0); pen.restore();
    for (const series of [...this.series].reverse()) this.points(pen, series, color);
    const main = this.series[0];
    if (this.picked !== null && main && this.picked < main.x.length) {
      pen.strokeStyle = color("--pick"); pen.lineWidth = 2.5; pen.beginPath();
      pen.arc(this.x.at(main.x[this.picked]), this.y.at(main.y[this.picked]), 7, 0, 7); pen.stroke();
    }
  },

  points(pen, series, color) {
    const shade = series.color.startsWith("--") ? color(series.color) : series.color;
    pen.fillStyle = pen.strokeStyle = shade; pen.lineWidth = 1.4;
    if (series.line) {
      pen.beginPath();
      series.x.forEach((value, i) => pen.lineTo(this.x.at(value), this.y.at(series.y[i])));
      pen.stroke();
    }
    // Squares are drawn ten times faster than circles.
    const r = series.radius;
    for (let i = 0; i < series.x.length; i++) {
      pen.fillRect(this.x.at(series.x[i]) - r, this.y.at(series.y[i]) - r, 2 * r, 2 * r);
    }
  },

  /** Return the index of the member of the first series nearest to a point of the canvas. */
  nearest(px, py, most = 40) {
    const main = this.series[0];
    let best = null, least = most ** 2;
    for (let i = 0; main && i < main.x.length; i++) {
      const distance = (this.x.at(main.x[i]) - px) ** 2 + (this.y.at(main.y[i]) - py) ** 2;
      if (distance < least) { least = distance; best = i; }
    }
    return best;
  },
};

function line(pen, x1, y1, x2, y2) {
  pen.beginPath(); pen.moveTo(x1, Math.round(y1) + 0.5); pen.lineTo(x2, Math.round(y2) + 0.5);
  pen.stroke();
}

/** Return a linear axis of columns of values between two positions. */
function axis(columns, from, to) {
  let low = Infinity, high = -Infinity;
  for (const column of columns) for (const value of column) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low <= high)) { low = 0; high = 1; }
  const margin = (high - low) * 0.04 || Math.abs(low) * 0.05 || 1;
  low -= margin; high += margin;
  const rough = (high - low) / Math.max(2, Math.abs(to - from) / 90);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(k * step);
  return { ticks, at: (value) => from + (value - low) / (high - low) * (to - from) };
}
