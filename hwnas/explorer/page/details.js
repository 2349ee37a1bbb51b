"use strict";

/** Show one architecture: its layers as a drawing, its numbers as tables. */
function showArchitecture(data, device) {
  $("#picked").hidden = false;
  $("#name").textContent = data.name;
  $("#about").textContent = Object.entries(data.choices)
    .map(([key, value]) => `${key} ${value}`).join(", ");
  $("#layers").replaceChildren(drawLayers(data.layers));
  $("#general").replaceChildren(table(["metric", "value"], data.general.map(
    ({ name, value, unit }) => [name, `${readable(value)} ${unit}`.trim()])));
  const names = [...new Set(data.devices.map((row) => row.device))];
  const quantities = [...new Set(data.devices.map((row) => row.quantity))];
  const unit = (quantity) => data.devices.find((row) => row.quantity === quantity).unit;
  const rows = names.map((name) => [name, ...quantities.map((quantity) => {
    const row = data.devices.find((r) => r.device === name && r.quantity === quantity);
    if (!row) return "–";
    return readable(row.median) + (row.p90 === null ? "" : ` (p90 ${readable(row.p90)})`);
  })]);
  const made = table(["device", ...quantities.map((q) => `${q}, ${unit(q)}`)], rows);
  made.querySelectorAll("tbody tr").forEach((row, i) => {
    if (names[i] === device) row.className = "chosen";
  });
  $("#on-devices").replaceChildren(made);
}

function table(header, rows) {
  return element("table", {},
    element("thead", {}, element("tr", {}, ...header.map((text) => element("th", {}, text)))),
    element("tbody", {}, ...rows.map((row) =>
      element("tr", {}, ...row.map((text) => element("td", {}, text))))));
}

/** Return a drawing of the layers from left to right: a row of bars for each choice. */
function drawLayers(choices) {
  const namespace = "http://www.w3.org/2000/svg";
  const shape = (tag, attributes, text) => {
    const made = document.createElementNS(namespace, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const count = choices[0].values.length, row = 64;
  const svg = shape("svg", { viewBox: `0 0 1000 ${row * choices.length + 16}`, role: "img",
    "aria-label": choices.map((c) => `${c.name}: ${c.values.join(", ")}`).join("; ") });
  const left = 90, step = Math.min((1000 - left) / count, 60);
  choices.forEach((choice, k) => {
    const base = row * (k + 1);
    svg.append(shape("text", { x: 0, y: base - 4 }, choice.name));
    choice.values.forEach((value, i) => {
      const height = Math.max(2, 42 * value / choice.most), x = left + i * step;
      const bar = shape("rect", { x, y: base - height, width: step * 0.8, height, rx: 2,
        fill: k ? COLORS[1] : COLORS[5] });
      bar.append(shape("title", {}, `layer ${i + 1}: ${choice.name} ${value}`));
      svg.append(bar, shape("text", { x: x + step * 0.4, y: base - height - 4,
        "text-anchor": "middle" }, value));
    });
  });
  svg.append(shape("text", { x: left, y: row * choices.length + 13 },
    `${count} layers, from the input to the output`));
  return svg;
}
