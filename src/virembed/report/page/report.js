"use strict";
// Makes the still page move: theme, choice of a sample, sorting, and the map.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const $ = (selector, inside = document) => inside.querySelector(selector);
  const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const whole = new Intl.NumberFormat("en");

  // ---- theme: as the system has it, until the button says otherwise -------------------------
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  function labelTheme() {
    $("#theme").textContent = isDark() ? "Light" : "Dark";
  }
  $("#theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    labelTheme();
    drawAll();
  });
  dark.addEventListener("change", () => { labelTheme(); drawAll(); });
  labelTheme();

  // ---- sorting of tables ---------------------------------------------------------------------
  for (const button of $$("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const rising = head.getAttribute("aria-sort") === "descending" || !head.hasAttribute("aria-sort");
      const body = $("tbody", head.closest("table"));
      const value = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
      const compare = (a, b) => value(a).localeCompare(value(b), "en", { numeric: true });
      body.append(...[...body.rows].sort((a, b) => (rising ? compare(a, b) : compare(b, a))));
      $$("th", head.parentNode).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    });
  }

  // ---- one sample instead of all: losses, lengths, frames, norms -------------------------------
  const pickers = $$("select.sample");
  for (const picker of pickers) {
    picker.addEventListener("change", () => {
      pickers.forEach((other) => { other.value = picker.value; });
      showSample(picker.value === "all" ? page.all : page.samples[Number(picker.value)]);
    });
  }
  function showSample(sample) {
    for (const stage of $$("[data-whole]")) {
      const total = sample.counts[stage.dataset.whole] || 0;
      for (const element of $$("[data-count]", stage)) {
        const count = sample.counts[element.dataset.count] || 0;
        element.classList.toggle("nil", count === 0);
        if (element.matches("i")) element.style.width = `${total ? (100 * count) / total : 0}%`;
        else $("b", element).textContent = whole.format(count);
      }
    }
    for (const element of $$("[data-total]")) {
      element.textContent = whole.format(sample.counts[element.dataset.total] || 0);
    }
    for (const chart of $$("[data-bins]")) drawBars(chart, sample.bins[chart.dataset.bins] || []);
  }
  function drawBars(chart, counts) {
    const bars = $$(".bars rect", chart);
    const { top, height, left, width } = page.plot;
    const largest = Math.max(1, ...counts);
    const marks = ticks(largest);
    const end = Math.max(largest, marks[marks.length - 1]);
    bars.forEach((bar, place) => {
      const size = (height * (counts[place] || 0)) / end;
      bar.setAttribute("y", top + height - size);
      bar.setAttribute("height", size);
      const title = $("title", bar);
      title.textContent = `${title.textContent.split(":")[0]}: ${whole.format(counts[place] || 0)}`;
    });
    $("g.y", chart).innerHTML = marks.map((mark) => {
      const y = top + height * (1 - mark / end);
      return `<path class="${mark ? "grid" : "axis"}" d="M${left} ${y}h${width}"/>` +
        `<text x="${left - 6}" y="${y + 4}" text-anchor="end">${shortNumber(mark)}</text>`;
    }).join("");
  }
  function ticks(high) {
    const power = 10 ** Math.floor(Math.log10(high / 3));
    const step = Math.max(1, [1, 2, 5, 10].map((nice) => nice * power).find((nice) => nice >= (high / 3) * 0.999));
    return Array.from({ length: Math.floor(high / step + 1e-9) + 1 }, (_, place) => place * step);
  }
  function shortNumber(value) {
    for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (value >= size) return `${Number((value / size).toPrecision(3))}${letter}`;
    }
    return String(Number(value.toPrecision(3)));
  }

  // ---- the note beside what is pointed at ------------------------------------------------------
  const tip = $(".tip");
  function fillTip(title, lines, x, y) { // x, y: of what it is about, in the window
    tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: title }),
      ...lines.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    tip.style.display = "block";
    tip.style.left = "0"; // or its width would depend on where it was before
    const above = y - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(8, Math.min(x + 14, window.innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${above > 52 ? above : y + 16}px`;
  }

  // ---- the map -----------------------------------------------------------------------------------
  const map = page.map;
  const kinds = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array };
  function numbers(coded) {
    const bytes = Uint8Array.from(atob(coded.slice(3)), (letter) => letter.charCodeAt(0));
    return new kinds[coded.slice(0, 2)](bytes.buffer);
  }
  const points = Object.fromEntries(Object.entries(map.points).map(([name, coded]) => [name, numbers(coded)]));
  const colourings = map.colourings.map((each) => ({ ...each, code: numbers(each.code), hidden: new Set() }));
  const panels = map.panels.map((panel, place) => ({
    element: $$(".panel")[place],
    canvas: $("canvas", $$(".panel")[place]),
    ring: $(".ring", $$(".panel")[place]),
    points: numbers(panel.points),
    layouts: Object.fromEntries(Object.entries(panel.layouts).map(([name, xy]) => [name, { x: numbers(xy.x), y: numbers(xy.y) }])),
    zoom: 1, x: 0.5, y: 0.5, // magnification, and what is in the middle
  }));
  let colouring = colourings[0];
  let layoutName = panels.some((panel) => panel.layouts.tsne) ? "tsne" : "pca";
  let pinned = false;

  const layoutOf = (panel) => panel.layouts[layoutName] || panel.layouts.pca;
  function place(panel, index) { // in CSS pixels of the canvas
    const { x, y } = layoutOf(panel);
    const size = panel.canvas.clientWidth;
    return [
      ((x[index] / map.grid - panel.x) * panel.zoom + 0.5) * size,
      ((1 - y[index] / map.grid - panel.y) * panel.zoom + 0.5) * size,
    ];
  }
  function numberOf(code) {
    if (!colouring.numbers) {
      colouring.numbers = new Uint32Array(256);
      for (const each of colouring.code) colouring.numbers[each] += 1;
    }
    return colouring.numbers[code];
  }
  const isShown = (point) => !colouring.hidden.has(colouring.code[point]);
  function shapeOf(code) {
    const number = colouring.kind === "classes" && code !== map.other ? Math.floor(code / map.num_colours) : 0;
    return map.shapes[number] || map.shapes[0];
  }
  function classOf(code) {
    if (code === map.other) return "other";
    return colouring.kind === "scale" ? `s${code}` : `c${code % map.num_colours}`;
  }
  function colourOf(code, probe) {
    probe.className = classOf(code);
    return getComputedStyle(probe).getPropertyValue("--c").trim();
  }

  function draw(panel) {
    const { canvas } = panel;
    const ratio = window.devicePixelRatio || 1;
    const size = canvas.clientWidth;
    if (!size) return;
    canvas.width = canvas.height = Math.round(size * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const mark = Math.max(0.7, Math.min(1.3, size / 500)) * (panel.points.length > 5000 ? 0.75 : 1) * Math.min(2, Math.sqrt(panel.zoom));
    context.globalAlpha = 0.82;
    const probe = document.createElement("span");
    panel.element.append(probe);
    const colours = new Map();
    // in several rounds, so that no class lies upon all others; rare classes in the last one
    const rounds = 12;
    const rare = panel.points.length / 20;
    for (let round = 0; round <= rounds; round += 1) {
      const paths = new Map();
      const last = round === rounds;
      for (let index = last ? 0 : round; index < panel.points.length; index += last ? 1 : rounds) {
        const code = colouring.code[panel.points[index]];
        if (colouring.hidden.has(code) || (numberOf(code) < rare && code !== map.other) !== last) continue;
        const [x, y] = place(panel, index);
        if (x < -9 || y < -9 || x > size + 9 || y > size + 9) continue;
        if (!paths.has(code)) paths.set(code, []);
        paths.get(code).push(`M${(x / mark).toFixed(1)} ${(y / mark).toFixed(1)}${shapeOf(code).path}`);
      }
      for (const code of [...paths.keys()].sort((a, b) => (b === map.other) - (a === map.other))) {
        if (!colours.has(code)) colours.set(code, colourOf(code, probe));
        const shape = shapeOf(code);
        context.save();
        context.scale(mark, mark);
        context.fillStyle = context.strokeStyle = colours.get(code);
        context.lineWidth = shape.width;
        context.lineCap = shape.cap;
        const path = new Path2D(paths.get(code).join(""));
        if (shape.fill) context.fill(path); else context.stroke(path);
        context.restore();
      }
    }
    probe.remove();
    if (map.note) {
      context.globalAlpha = 1;
      context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--warn");
      context.font = "600 13px system-ui, sans-serif";
      context.textAlign = "right";
      context.fillText(map.note, size - 8, size - 9);
    }
  }
  function drawAll() {
    hideTip();
    panels.forEach(draw);
  }

  function rowId(point) {
    const record = map.records[points.record[point]];
    if (points.window[point] < 0) return record; // embedded whole
    const frame = map.frames[points.frame[point]];
    const suffix = frame === map.no_frame ? "" : frame;
    return `${record}_chunk_${points.window[point] + 1}${suffix}`;
  }
  function showTip(panel, index) {
    const point = panel.points[index];
    const residues = points.protein_len[point];
    const lines = [
      `Sample ${page.samples[points.sample[point]].name}, row ${whole.format(points.row[point])}`,
      `${residues ? `${whole.format(residues)} residues, ` : ""}${whole.format(points.dna_bp[point])} bp of DNA`,
      ...Object.keys(points).filter((name) => name.startsWith("p_virus_") && !Number.isNaN(points[name][point]))
        .map((name) => `${name.replaceAll("_", " ")} ${points[name][point].toFixed(3)}`),
    ];
    for (const each of panels) { // the same row in the other panel
      const there = each === panel ? index : each.points.indexOf(point);
      each.ring.style.display = there < 0 ? "none" : "block";
      if (there >= 0) [each.ring.style.left, each.ring.style.top] = place(each, there).map((at) => `${at}px`);
    }
    const frame = panel.canvas.getBoundingClientRect();
    const [x, y] = place(panel, index);
    fillTip(rowId(point), lines, frame.left + x, frame.top + y);
    panel.at = index;
    panel.canvas.setAttribute("aria-label", rowId(point));
  }
  function hideTip() {
    tip.style.display = "none";
    pinned = false;
    panels.forEach((panel) => { panel.ring.style.display = "none"; });
    heats.forEach(unframe);
  }
  function nearest(panel, x, y, accept) {
    let best = -1;
    let least = Infinity;
    for (let index = 0; index < panel.points.length; index += 1) {
      if (!isShown(panel.points[index])) continue;
      const [px, py] = place(panel, index);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least && accept(px - x, py - y, index)) { least = distance; best = index; }
    }
    return best;
  }
  function zoomTo(panel, factor, x = 0.5, y = 0.5) { // x, y: what stays where it is, as share of the canvas
    const zoom = Math.max(1, Math.min(40, panel.zoom * factor));
    panel.x += (x - 0.5) * (1 / panel.zoom - 1 / zoom);
    panel.y += (y - 0.5) * (1 / panel.zoom - 1 / zoom);
    panel.zoom = zoom;
    if (zoom === 1) { panel.x = 0.5; panel.y = 0.5; }
    hideTip();
    draw(panel);
  }
  const arrows = {
    ArrowLeft: (dx, dy) => -dx > Math.abs(dy), ArrowRight: (dx, dy) => dx > Math.abs(dy),
    ArrowUp: (dx, dy) => -dy > Math.abs(dx), ArrowDown: (dx, dy) => dy > Math.abs(dx),
  };
  for (const panel of panels) {
    const { canvas } = panel;
    const label = canvas.getAttribute("aria-label");
    const here = (event) => {
      const frame = canvas.getBoundingClientRect();
      return [event.clientX - frame.left, event.clientY - frame.top];
    };
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, moved: false }; });
    canvas.addEventListener("pointermove", (event) => {
      if (drag && event.buttons && panel.zoom > 1) {
        const size = canvas.clientWidth * panel.zoom;
        panel.x -= (event.clientX - drag.x) / size;
        panel.y -= (event.clientY - drag.y) / size;
        drag = { x: event.clientX, y: event.clientY, moved: true };
        hideTip();
        draw(panel);
        return;
      }
      if (pinned) return;
      const [x, y] = here(event);
      const index = nearest(panel, x, y, (dx, dy) => dx * dx + dy * dy < 144);
      if (index < 0) hideTip(); else showTip(panel, index);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (drag && !drag.moved) {
        const [x, y] = here(event);
        const index = nearest(panel, x, y, (dx, dy) => dx * dx + dy * dy < 225);
        if (index < 0) hideTip(); else { showTip(panel, index); pinned = true; }
      }
      drag = null;
    });
    canvas.addEventListener("pointerleave", () => { if (!pinned) hideTip(); });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      const [x, y] = here(event);
      zoomTo(panel, event.deltaY < 0 ? 1.25 : 0.8, x / canvas.clientWidth, y / canvas.clientWidth);
    }, { passive: false });
    canvas.addEventListener("blur", () => { hideTip(); canvas.setAttribute("aria-label", label); });
    canvas.addEventListener("keydown", (event) => {
      if (arrows[event.key]) {
        event.preventDefault();
        const size = canvas.clientWidth;
        const started = panel.at !== undefined && isShown(panel.points[panel.at]);
        const [x, y] = started ? place(panel, panel.at) : [size / 2, size / 2];
        const index = nearest(panel, x, y, started ? arrows[event.key] : () => true);
        if (index >= 0) showTip(panel, index);
      } else if (event.key === "+" || event.key === "=") zoomTo(panel, 1.5);
      else if (event.key === "-") zoomTo(panel, 1 / 1.5);
      else if (event.key === "0") zoomTo(panel, 0);
      else if (event.key === "Escape") hideTip();
    });
    const [nearer, further, all] = $$(".zoom button", panel.element);
    nearer.addEventListener("click", () => zoomTo(panel, 1.5));
    further.addEventListener("click", () => zoomTo(panel, 1 / 1.5));
    all.addEventListener("click", () => zoomTo(panel, 0));
  }

  // ---- similarity: which two samples a cell is of ----------------------------------------------
  const heats = page.heats.map((heat, place) => ({
    ...heat,
    matrix: numbers(heat.matrix),
    element: $$(".pairs")[place],
    label: $$(".pairs")[place].getAttribute("aria-label"),
  }));
  let heldPair = null; // what the keyboard is at: [heat, row, column]
  const distance = (heat, row, column) => heat.matrix[row * heat.samples.length + column];
  function unframe(heat) {
    $$(".frame", heat.element).forEach((element) => element.remove());
    $$(".chosen", heat.element).forEach((text) => text.classList.remove("chosen"));
  }
  function frame(heat, row, column) { // the cell, and the way from both edges to it
    unframe(heat);
    const { left, top, size } = heat;
    const x = left + column * size;
    const y = top + row * size;
    const svg = $("svg", heat.element);
    for (const [kind, path] of [
      ["frame", `M${left} ${y}H${x}M${left} ${y + size}H${x}M${x} ${top}V${y}M${x + size} ${top}V${y}`],
      ["frame", `M${x - 1} ${y - 1}h${size + 2}v${size + 2}h${-size - 2}z`],
      ["frame inner", `M${x} ${y}h${size}v${size}h${-size}z`],
    ]) {
      const element = document.createElementNS(svg.namespaceURI, "path");
      element.setAttribute("class", kind);
      element.setAttribute("d", path);
      svg.append(element);
    }
    for (const place of [row, column]) $$("text.name", heat.element)[place].classList.add("chosen");
  }
  function showPair(heat, row, column) {
    const [a, b] = [heat.samples[row], heat.samples[column]];
    const [one, other] = [a, b].map((sample) => page.samples[sample].name);
    const lines = [];
    for (const each of heats) {
      const [i, j] = [a, b].map((sample) => each.samples.indexOf(sample));
      if (i < 0 || j < 0) { unframe(each); continue; }
      lines.push(`${each.title}: distance ${distance(each, i, j).toFixed(3)}`);
      frame(each, i, j);
    }
    const { element, left, top, size } = heat;
    const svg = $("svg", element).getBoundingClientRect();
    const scale = svg.width / $("svg", element).viewBox.baseVal.width;
    const x = (left + (column + 0.5) * size) * scale;
    fillTip(a === b ? one : `${one} and ${other}`, lines, svg.left + x, svg.top + (top + row * size) * scale);
    element.setAttribute("aria-label", `${one} and ${other}. ${lines.join(". ")}`);
    heat.at = [row, column];
    return x;
  }
  function hold(heat, row, column) { // by the keyboard: what is out of view is scrolled to
    const x = showPair(heat, row, column);
    heldPair = [heat, row, column];
    const { clientWidth, scrollLeft } = heat.element;
    if (x < scrollLeft + 20 || x > scrollLeft + clientWidth - 20) {
      heat.element.scrollLeft = x - clientWidth / 2;
      showPair(heat, row, column);
    }
  }
  for (const heat of heats) {
    const { element, samples } = heat;
    const point = (event) => {
      const svg = $("svg", element).getBoundingClientRect();
      const scale = svg.width / $("svg", element).viewBox.baseVal.width;
      const [column, row] = [[event.clientX - svg.left, heat.left], [event.clientY - svg.top, heat.top]]
        .map(([at, begin]) => Math.floor((at / scale - begin) / heat.size));
      const inside = [row, column].every((place) => place >= 0 && place < samples.length);
      heldPair = null;
      if (inside) showPair(heat, row, column); else hideTip();
    };
    element.addEventListener("pointermove", point);
    element.addEventListener("pointerdown", point);
    element.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch" && !heldPair) hideTip(); });
    element.addEventListener("focus", () => { if (element.matches(":focus-visible")) hold(heat, ...(heat.at || [0, 1])); });
    element.addEventListener("blur", () => { heldPair = null; hideTip(); element.setAttribute("aria-label", heat.label); });
    element.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (event.key === "Escape") { heldPair = null; hideTip(); }
      if (!step) return;
      event.preventDefault();
      const [row, column] = heldPair ? heat.at.map((place, axis) => place + step[axis]) : heat.at || [0, 1];
      const last = samples.length - 1;
      hold(heat, ...[row, column].map((place) => Math.max(0, Math.min(last, place))));
    });
  }

  function drawLegend() {
    const legend = $("#legend");
    const codes = colouring.labels.map((_, code) => code);
    if (colouring.other) codes.push(map.other);
    legend.replaceChildren(...codes.map((code) => {
      const button = document.createElement("button");
      const shape = shapeOf(code);
      button.type = "button";
      button.className = classOf(code);
      button.innerHTML = `<svg viewBox="-5 -5 10 10" aria-hidden="true"><path class="${shape.fill ? "fill" : "stroke"}" ` +
        `stroke-width="${shape.width * 1.3}" stroke-linecap="${shape.cap}" d="M0 0${shape.path}"/></svg>` +
        '<span class="name"></span><span class="number"></span>';
      $(".name", button).textContent = code === map.other ? colouring.other : colouring.labels[code];
      $(".number", button).textContent = whole.format(numberOf(code));
      button.title = $(".name", button).textContent;
      button.setAttribute("aria-pressed", String(!colouring.hidden.has(code)));
      button.addEventListener("click", () => {
        if (!colouring.hidden.delete(code)) colouring.hidden.add(code);
        button.setAttribute("aria-pressed", String(!colouring.hidden.has(code)));
        drawAll();
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
  }
  for (const scrolled of [document, ...heats.map((heat) => heat.element)]) {
    scrolled.addEventListener("scroll", () => {
      if (heldPair) showPair(...heldPair); else hideTip();
    }, { passive: true });
  }
  if (panels.length) {
    $("#colour").addEventListener("change", (event) => {
      colouring = colourings[Number(event.target.value)];
      drawLegend();
      drawAll();
    });
    $("#layout").addEventListener("change", (event) => {
      layoutName = event.target.value;
      $$("[data-layout]").forEach((text) => { text.hidden = text.dataset.layout !== layoutName; });
      panels.forEach((panel) => { panel.at = undefined; });
      drawAll();
    });
    new ResizeObserver(drawAll).observe($(".panels"));
    drawLegend();
  }
})();
