"use strict";

const page = crypto.randomUUID ? crypto.randomUUID() : String(Math.random());
const STEPS = 1000, RUN_PERIOD_MS = 2000;
let space = null, front = null, picked = null, runs = [], compared = [], runNames = [];
let move = 0; // counts the moves; answers to earlier ones are dropped
const bounds = new Map(); // number of each bounded metric, without a device
let wished = {}; // what the address asks for

/** Return the answer to a question; its error goes to the page. */
async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of [].concat(value)) query.append(key, one);
  }
  const response = await fetch(`api/${path}?${query}`, options);
  const answer = await response.json();
  // An error is an answer too: fetch treats only what it gets as one.
  if (answer.error) throw new Error(answer.error);
  return answer;
}

function say(text) { $("#message").textContent = text; $("#message").hidden = !text; }

/** Run something that asks the server; show why it failed. */
async function guarded(action) {
  try { await action(); } catch (error) {
    say(error instanceof TypeError ? "The explorer has stopped: start hwnas explore again."
      : error.message);
  }
}

// ---- choices ----------------------------------------------------------------------------------

const quantity = (name) => space.quantities.find((one) => one.name === name);

/** Return a metric with its device and statistic as hwnas writes it. */
function spelled(one, device) {
  const statistic = $("#statistic").value;
  return one.name + (one.devices.length ? `@${device}` : "")
    + (one.quantiles && statistic !== "median" ? `:${statistic}` : "");
}
const goal = (one, device) => (one.maximized ? "-" : "") + spelled(one, device);

/** Return the quantities of the chosen device and workload. */
function available() {
  const device = $("#device").value, workload = $("#workload").value;
  const wanted = workload === "forward" ? null : workload;
  return space.quantities.filter((one) => (!one.devices.length || one.devices.includes(device))
    && (one.workload === null && (!one.devices.length || wanted === null)
      || one.workload === wanted));
}

function fill(selector, options, value) {
  const list = $(selector), former = list.value;
  list.replaceChildren(...options.map(([key, text]) => element("option", { value: key }, text)));
  const keys = options.map(([key]) => key);
  if (value && !keys.includes(value)) say(`${selector.slice(1)}: there is no ${value} here`);
  list.value = [value, former, keys[0]].find((key) => keys.includes(key)) ?? "";
}

async function openSpace() {
  space = await ask("space", { space: $("#space").value });
  bounds.clear();
  fill("#device", space.devices.map((d) => [d.name, d.about ? `${d.name}: ${d.about}` : d.name]),
    wished.device ?? (space.devices.some((d) => d.name === "h100") ? "h100" : undefined));
  fill("#workload", space.workloads.map((w) => [w.name, `${w.name}: ${w.meaning}`]), wished.workload);
  compared = [];
  $("#devices").replaceChildren(...space.devices.map((d) => element("label", { className: "small" },
    element("input", { type: "checkbox", value: d.name, onchange: () => guarded(compare) }),
    d.name)));
  await openMetrics();
}

/** Offer the metrics of a device and workload as axes and as bounds. */
async function openMetrics() {
  const list = available();
  const options = list.map((one) => [one.name, one.unit ? `${one.name}, ${one.unit}` : one.name]);
  const first = (...names) => names.find((name) => list.some((one) => one.name === name));
  const workload = $("#workload").value;
  const has = (selector) => list.some((one) => one.name === $(selector).value);
  fill("#x", options, wished.x
    ?? (has("#x") ? $("#x").value : first(`tpot.${workload}`, "latency", `kv_cache.${workload}`)));
  fill("#y", options, wished.y
    ?? (has("#y") ? $("#y").value : first("perplexity") ?? options.at(-1)?.[0]));
  if ($("#x").value === $("#y").value) {
    $("#x").value = list.find((one) => one.name !== $("#y").value)?.name ?? "";
  }
  for (const name of [...bounds.keys()]) if (!list.some((one) => one.name === name)) bounds.delete(name);
  const device = $("#device").value;
  const ranges = await ask("ranges",
    { space: space.space, metric: list.map((one) => spelled(one, device)) });
  $("#sliders").replaceChildren(...list.map((one) => slider(one, ranges[spelled(one, device)])));
  for (const [key, text] of [].concat(wished.bounds ?? [])) {
    const input = document.getElementById(`bound-${key}`);
    if (!input) say(`bound: there is no metric ${key} here`);
    else { input.value = text; input.onchange(); }
  }
  wished = {};
  await redraw();
}

/** Return a slider with a number for the bound of a metric; at its end there is no bound. */
function slider(one, [low, high]) {
  const isLog = low > 0 && high / low > 20;
  const value = (step) => (isLog ? low * (high / low) ** (step / STEPS)
    : low + (high - low) * step / STEPS);
  const step = (number) => Math.round(STEPS * (isLog ? Math.log(number / low) / Math.log(high / low)
    : (number - low) / ((high - low) || 1)));
  const free = one.maximized ? 0 : STEPS, label = `${one.name} ${one.maximized ? "≥" : "≤"}`;
  const range = element("input", { type: "range", min: 0, max: STEPS, "aria-label": label });
  const number = element("input", { type: "text", id: `bound-${one.name}`, inputMode: "decimal",
    "aria-label": `${label}, number`, placeholder: "no bound" });
  const box = element("div", { className: "bound", title: one.meaning },
    element("div", { className: "bar" }, element("label", { htmlFor: number.id }, label),
      element("span", { className: "bar" }, number, element("span", { className: "small soft" }, one.unit))),
    range);
  const set = (bound) => {
    if (bound === null) bounds.delete(one.name); else bounds.set(one.name, bound);
    box.classList.toggle("active", bound !== null);
  };
  range.oninput = () => {
    const at = Number(range.value);
    const bound = at === free ? null : Number(value(at).toPrecision(5));
    number.value = bound === null ? "" : bound;
    set(bound); say(""); guarded(redraw);
  };
  number.onchange = (event) => {
    const text = number.value.trim();
    const bound = text === "" ? null : Number(text);
    if (bound !== null && !Number.isFinite(bound)) {
      say(`${one.name}: expected a number, found ${text.slice(0, 80)}`);
      return;
    }
    if (event) say(""); // a bound of the address leaves the message about its other names
    range.value = bound === null ? free : Math.min(STEPS, Math.max(0, step(bound) || 0));
    set(bound); guarded(redraw);
  };
  range.value = free;
  if (bounds.has(one.name)) { number.value = bounds.get(one.name); number.onchange(); }
  return box;
}

function question(device = $("#device").value) {
  const bound = [...bounds].map(([name, number]) =>
    `${spelled(quantity(name), device)} ${quantity(name).maximized ? ">=" : "<="} ${number}`);
  return { space: space.space, x: goal(quantity($("#x").value), device),
    y: goal(quantity($("#y").value), device), bound };
}

// ---- fronts -----------------------------------------------------------------------------------

/** Show the members of the known front that keep the bounds, then the exact front. */
async function redraw() {
  if (!space || !quantity($("#x").value) || !quantity($("#y").value)) return;
  const mine = ++move, asked = question();
  performance.clearMarks();
  performance.mark("moved");
  remember();
  const answer = await ask("front", asked);
  if (mine !== move) return;
  show(answer);
  performance.mark("filtered");
  guarded(compare); guarded(watch);
  if (!answer.filtered) { performance.mark("exact"); ask("cancel", { page }); return; }
  // A slider that still moves asks for no search.
  await new Promise((resolve) => setTimeout(resolve, 120));
  if (mine !== move) return;
  const exact = await ask("exact", { ...asked, page });
  if (mine !== move || exact.superseded) return;
  show(exact);
  performance.mark("exact");
}

function show(answer) {
  const chosen = picked;
  front = answer;
  const state = $("#state");
  const none = answer.of === 0 && !answer.filtered;
  state.className = `badge ${answer.filtered ? "filtered" : "exact"}`;
  state.textContent = answer.filtered
    ? `filtered: ${answer.of.toLocaleString()} members keep the bounds; computing the exact front …`
    : none ? "empty: no architecture keeps these bounds"
      : `${answer.state}, ${answer.of.toLocaleString()} architectures`;
  $("#command").textContent = answer.command;
  picked = chosen;
  draw();
}

const codeAt = (data, i) => data.codes.slice(i * space.columns, (i + 1) * space.columns);

function draw() {
  if (!front) return;
  const series = [{ name: $("#device").value, color: front.filtered ? "--pale" : "--accent",
    x: front.x, y: front.y, line: false, radius: 1.7 }];
  compared.forEach((one, i) => series.push({ ...one, color: COLORS[i % COLORS.length], line: true, radius: 0 }));
  runs.flatMap((run) => run.fronts.map((f) => ({ ...f, name: `${run.name}: ${f.optimizer}` })))
    .forEach((one, i) => series.push({ ...one, line: true, radius: 3,
      color: COLORS[(COLORS.length - 1 - i % COLORS.length)] }));
  chart.series = series;
  const title = (selector) => {
    const one = quantity($(selector).value);
    return spelled(one, $("#device").value) + (one.unit ? `, ${one.unit}` : "");
  };
  chart.titles = [title("#x"), title("#y")];
  chart.picked = null;
  if (picked) for (let i = 0; i < front.of && chart.picked === null; i++) {
    if (codeAt(front, i) === picked) chart.picked = i;
  }
  chart.draw();
  $("#legend").replaceChildren(...series.slice(1).map((one) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = one.color;
    return element("span", {}, swatch, ` ${one.name}`);
  }), ...runs.map((run) => element("span", { className: "soft" }, `${run.name}: `
    + `${run.trials.toLocaleString()} trials${run.running ? ", running or stopped" : ", finished"}`
    + (run.note ? `; ${run.note}` : ""))));
}

/** Draw the fronts of other devices: members of their known fronts that keep the bounds. */
async function compare() {
  const names = [...$("#devices").querySelectorAll("input:checked")].map((box) => box.value)
    .filter((name) => name !== $("#device").value);
  const mine = move;
  const answers = await Promise.all(names.map((name) => ask("front", question(name))
    .then((data) => ({ ...data, name: data.filtered ? `${name} (filtered)` : name }))));
  if (mine === move) { compared = answers; draw(); }
}

/** Read the runs again. */
async function watch() {
  if (!runNames.length || !space) return;
  const mine = move;
  const answer = await ask("runs", { ...question(), bound: [] });
  if (mine === move) { runs = answer.runs; draw(); }
}

async function pick(i) {
  if (i === null || !front || i >= front.of) return;
  picked = codeAt(front, i);
  draw();
  const data = await ask("architecture", { space: space.space, code: picked });
  showArchitecture(data, $("#device").value);
  $("#copy-name").onclick = () => copy(data.name, "#copy-name");
  $("#copy-build").onclick = () => copy(data.build, "#copy-build");
}

// ---- copies and downloads ---------------------------------------------------------------------

async function copy(text, button) {
  const former = $(button).textContent;
  try { await navigator.clipboard.writeText(text); $(button).textContent = "Copied"; } catch {
    say(`The browser refuses the clipboard; copy by hand: ${text}`);
  }
  setTimeout(() => { $(button).textContent = former; }, 1200);
}

/** Return the shown front as CSV. */
async function frontCsv() {
  const shown = front, asked = question();
  const { names } = shown.of ? await ask("names", { space: space.space },
    { method: "POST", body: shown.codes }) : { names: [] };
  const plain = (text) => text.replace(/^-/, "");
  return [["arch", plain(asked.x), plain(asked.y)],
    ...names.map((name, i) => [name, shown.x[i], shown.y[i]])].map((row) => row.join(",")).join("\n");
}

async function download() {
  const link = element("a", { download: `front-${space.space}${front.filtered ? "-filtered" : ""}.csv` });
  link.href = URL.createObjectURL(new Blob([`${await frontCsv()}\n`], { type: "text/csv" }));
  link.click();
  URL.revokeObjectURL(link.href);
}

// ---- address ----------------------------------------------------------------------------------

/** Write the choices into the address, so that it can be kept. */
function remember() {
  const parts = new URLSearchParams();
  for (const name of ["space", "device", "workload", "x", "y", "statistic"]) parts.set(name, $(`#${name}`).value);
  for (const [name, number] of bounds) parts.append("bound", `${name}:${number}`);
  history.replaceState(null, "", `#${parts}`);
}

function wishes() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const made = Object.fromEntries(["device", "workload", "x", "y"].flatMap(
    (name) => (parts.get(name) ? [[name, parts.get(name)]] : [])));
  made.bounds = parts.getAll("bound").map((text) => {
    const at = text.lastIndexOf(":");
    return [text.slice(0, at), text.slice(at + 1)];
  });
  if (parts.get("statistic") === "p90") $("#statistic").value = "p90";
  return { ...made, space: parts.get("space") };
}

async function start() {
  const { spaces, runs: names } = await ask("spaces");
  runNames = names;
  wished = wishes();
  fill("#space", spaces.map((name) => [name, name]), wished.space ?? undefined);
  await openSpace();
  performance.mark("ready");
}

$("#space").onchange = () => { say(""); picked = null; $("#picked").hidden = true; guarded(openSpace); };
for (const name of ["device", "workload", "statistic"]) {
  $(`#${name}`).onchange = () => { say(""); guarded(openMetrics); };
}
for (const name of ["x", "y"]) $(`#${name}`).onchange = () => { say(""); guarded(redraw); };
$("#reset").onclick = () => { bounds.clear(); say(""); guarded(openMetrics); };
$("#csv").onclick = () => guarded(download);
$("#copy-front").onclick = () => copy(front.command, "#copy-front");
const place = (event) => chart.nearest(event.offsetX, event.offsetY);
chart.canvas.onclick = (event) => guarded(() => pick(place(event)));
chart.canvas.onmousemove = (event) => {
  const i = place(event), tip = $("#tip");
  tip.hidden = i === null;
  if (i === null) return;
  tip.textContent = `${$("#y").value} ${readable(front.y[i])}\n${$("#x").value} ${readable(front.x[i])}`;
  tip.style.left = `${Math.min(event.offsetX + 14, chart.canvas.clientWidth - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.max(0, event.offsetY - 50)}px`;
};
chart.canvas.onmouseleave = () => { $("#tip").hidden = true; };
chart.canvas.onkeydown = (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by || !front?.of) return;
  event.preventDefault();
  const next = chart.picked === null ? 0 : chart.picked + by;
  guarded(() => pick(Math.min(front.of - 1, Math.max(0, next))));
};
new ResizeObserver(draw).observe(chart.canvas.parentElement);
matchMedia("(prefers-color-scheme: dark)").onchange = draw;
setInterval(() => { if (runs.some((run) => run.running)) guarded(watch); }, RUN_PERIOD_MS);
guarded(start);
