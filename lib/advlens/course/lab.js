/* The live lab: brings the form that lab_form.py wrote to life.

   One module, two homes.  In a notebook anywidget calls `render`, and every request goes to Python
   (lab.py, `answer`); on the site the same module is mounted over the HTML that stands in the page,
   and requests go to the engine in _static/lab (its backend.js documents the protocol), which is
   loaded when the lab comes near the viewport or is touched.

   There is one state.  Every control changes it through `change`, `sync` sets the controls from it,
   `compute` asks the networks, `show` paints.  So undo and links are nothing but other states. */

const BLANK = "draw";
const REMEMBERED = 100;     // states that undo goes back
const TOGETHER = 800;       // ms: moves of one control within this time are undone at once
const LINK_PAUSE = 500;     // ms: Safari allows 100 changes of the address in 30 s
const IDLE = 350;           // ms without a change, after which the smallest epsilon is looked for
const CHALLENGE = 0.05;
const UNITS = { linf: "the most a pixel may change", l2: "the length of the whole change" };

/* --- who computes ------------------------------------------------------------------------------ */

/* Python, by anywidget's messages: one request at a time, and of those that wait only the newest is sent. */
function inPython(model) {
  let last = 0, busy = null, waiting = new Map();
  const given = () => Object.assign(new Error("given up"), { name: "AbortError" });
  const next = () => {
    const [first] = waiting;
    if (busy || !first) return;
    waiting.delete(first[0]);
    busy = first[1];
    busy.id = ++last;
    const { x, ...rest } = busy.request;
    model.send({ id: busy.id, ...rest }, undefined, [new Float32Array(x).buffer]);
  };
  const read = (buffer) => new Float32Array(buffer.buffer ? buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) : buffer);
  model.on("msg:custom", (message, buffers) => {
    if (!busy || message.id !== busy.id) return;
    const { accept, refuse, request } = busy;
    busy = null;
    next();
    if (message.error) return refuse(new Error(message.error));
    const n = request.x.length, pixels = buffers && buffers.length ? read(buffers[0]) : new Float32Array(0);
    const image = (k) => pixels.slice(k * n, k * n + n), response = message.response;
    if (request.kind === "smallest") return accept({ ...response, adversarial: pixels.length ? image(0) : null });
    accept({ ...response, adversarial: image(0), seen: image(1), walk: response.walk.map((w, k) => ({ ...w, x: image(k + 2) })) });
  });
  return (net) => {
    const ask = (kind) => (request) => new Promise((accept, refuse) => {
      if (waiting.has(net)) waiting.get(net).refuse(given());
      waiting.set(net, { request: { ...request, kind }, accept, refuse });
      next();
    });
    return { run: ask("run"), smallest: ask("smallest"), warm: async () => {} };
  };
}

/* The engine beside the page.  Each network has a worker of its own, so they compute side by side. */
function inPage(base) {
  let script = null;
  const loaded = () => (script ??= new Promise((accept, refuse) => {
    if (globalThis.lensLab) return accept();
    const element = document.createElement("script");
    element.src = base + "backend.js";
    element.onload = accept;
    element.onerror = () => refuse(new Error(`${element.src} is missing`));
    document.head.append(element);
  }));
  return (net) => {
    let made = null;
    const backend = async () => {
      await loaded();
      return made ??= globalThis.lensLab.backend({ base });
    };
    return {
      run: async (request) => (await backend()).run(request),
      smallest: async (request) => (await backend()).smallest(request),
      warm: async (data) => (await backend()).warm(net, data),
    };
  };
}

/* --- links: the state as text, and back ----------------------------------------------------------- */

const letters = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

/* A drawing is mostly black: 0 is followed by how many more there are. */
function packed(pixels) {
  const out = [];
  for (let i = 0; i < pixels.length; i++) {
    out.push(pixels[i]);
    if (pixels[i]) continue;
    let n = 0;
    while (n < 255 && pixels[i + 1] === 0) { n++; i++; }
    out.push(n);
  }
  return letters(out);
}
function unpacked(text, size) {
  const out = new Uint8Array(size), from = bytes(text);
  for (let i = 0, at = 0; i < from.length && at < size; i++) {
    if (from[i]) out[at++] = from[i];
    else at += 1 + from[++i];
  }
  return out;
}

function toLink(state) {
  const say = { data: state.data, nets: state.nets.join(","), attack: state.attack, norm: state.norm, eps: +state.eps.toPrecision(6), steps: state.steps };
  if (state.source) say.from = state.source;
  if (state.target !== null) say.target = state.target;
  if (state.jpeg !== null) Object.assign(say, { jpeg: state.jpeg, knows: +state.adaptive });
  if (state.step !== null) say.step = state.step;
  if (state.drawing) say.drawing = packed(state.drawing.pixels);
  else if (state.image !== null) say.image = state.image;
  return Object.entries(say).map(([k, v]) => `${k}=${encodeURIComponent(v).replace(/%2C/g, ",")}`).join("&");
}

/* A link may come from anywhere: what it says counts only where this lab offers it. */
function fromLink(text, spec) {
  const said = new URLSearchParams(text);
  if (!said.has("attack")) return null;
  const state = { drawing: null, ...spec.start };
  const number = (key, low, high, otherwise = null) => {
    const v = Number(said.get(key));
    return said.has(key) && v >= low && v <= high ? v : otherwise;
  };
  const whole = (...given) => { const v = number(...given); return v === null ? null : Math.round(v); };
  if (Object.hasOwn(spec.groups, said.get("data"))) state.data = said.get("data");
  const group = spec.groups[state.data], nets = (said.get("nets") || "").split(",");
  state.nets = group.nets.filter((net) => nets.includes(net));
  if (!state.nets.length) state.nets = group.nets.slice(0, 1);
  if (Object.hasOwn(spec.attacks, said.get("attack"))) state.attack = said.get("attack");
  state.norm = normOf(state.attack, said.get("norm") === "l2" ? "l2" : "linf");
  state.source = state.nets.includes(said.get("from")) ? said.get("from") : "";
  state.eps = number("eps", 0, group.limits[state.norm][0], 0);
  state.steps = whole("steps", 1, 40, spec.start.steps);
  state.target = whole("target", 0, group.classes.length - 1);
  state.jpeg = whole("jpeg", 5, 95);
  state.adaptive = said.get("knows") === "1";
  state.step = whole("step", 0, 1000);
  state.image = whole("image", 0, group.labels.length - 1);
  if (said.get("drawing") && group.shape[0] === 1) {
    state.image = null;
    try { state.drawing = { strokes: [], pixels: unpacked(said.get("drawing"), group.shape[1] * group.shape[2]) }; } catch { /* not base64: an empty page */ }
  }
  return state;
}

const normOf = (attack, chosen) => ({ fgsm: "linf", fgm: "l2", ddn: "l2" })[attack] || chosen;

/* --- drawing ----------------------------------------------------------------------------------------- */

function canvasOf(size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  return canvas;
}
function pen(context, width) {
  Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: width, strokeStyle: "#fff" });
  return context;
}
function lines(context, strokes, place) {
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach((point, i) => { const [x, y] = place(point); if (i) context.lineTo(x, y); else context.moveTo(x, y); });
    const [x, y] = place(stroke.at(-1));
    context.lineTo(x + 0.1, y);                        // a dot is a line as well
    context.stroke();
  }
}

/* As MNIST was made: the ink fitted into 20 x 20 pixels, its centre of mass in the middle of 28 x 28.
   Strokes are points in [0, 1]; the pen is as thick as MNIST's whatever the size of the drawing.  Returns bytes. */
function fitted(strokes) {
  const points = strokes.flat(), side = 28, fine = 10, width = 2.3 * fine;
  if (!points.length) return new Uint8Array(side * side);
  const range = (axis) => { const v = points.map((p) => p[axis]); return [Math.min(...v), Math.max(...v)]; };
  const [[left, right], [top, bottom]] = [range(0), range(1)];
  const scale = (20 * fine - width) / Math.max(right - left, bottom - top, 0.15);
  const big = canvasOf(side * fine), c = pen(big.getContext("2d", { willReadFrequently: true }), width);
  const middle = [(left + right) / 2, (top + bottom) / 2], half = side * fine / 2;
  lines(c, strokes, ([x, y]) => [half + scale * (x - middle[0]), half + scale * (y - middle[1])]);
  const ink = c.getImageData(0, 0, big.width, big.height).data;
  let mass = 0, mx = 0, my = 0;
  for (let y = 0, i = 3; y < big.height; y++) for (let x = 0; x < big.width; x++, i += 4) if (ink[i]) { mass += ink[i]; mx += ink[i] * x; my += ink[i] * y; }
  const small = canvasOf(side), s = small.getContext("2d", { willReadFrequently: true });
  Object.assign(s, { imageSmoothingEnabled: true, imageSmoothingQuality: "high", fillStyle: "#000" });
  s.fillRect(0, 0, side, side);
  s.drawImage(big, side / 2 - mx / mass / fine - 0.05, side / 2 - my / mass / fine - 0.05, side, side);
  const grey = s.getImageData(0, 0, side, side).data;
  return Uint8Array.from({ length: side * side }, (_, i) => grey[4 * i]);
}

/* --- painting -------------------------------------------------------------------------------------------- */

function size(canvas, [, height, width]) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}
function paint(canvas, x, shape) {
  size(canvas, shape);
  const context = canvas.getContext("2d"), data = context.createImageData(shape[2], shape[1]), n = shape[1] * shape[2];
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = Math.round(255 * x[shape[0] === 1 ? i : c * n + i]);
    data.data[4 * i + 3] = 255;
  }
  context.putImageData(data, 0, 0);
}

/* Where nothing changes the paper shows; orange is up and blue is down, in colour images each channel by itself. */
function paintNoise(canvas, d, shape, limit, [up, down]) {
  size(canvas, shape);
  const context = canvas.getContext("2d"), data = context.createImageData(shape[2], shape[1]), n = shape[1] * shape[2];
  for (let i = 0; i < n; i++) {
    if (shape[0] === 1) {
      data.data.set(d[i] > 0 ? up : down, 4 * i);
      data.data[4 * i + 3] = Math.min(255, Math.round(255 * Math.abs(d[i]) / limit));
    } else {
      const largest = Math.max(Math.abs(d[i]), Math.abs(d[n + i]), Math.abs(d[2 * n + i]));
      if (!largest) continue;
      for (let c = 0; c < 3; c++) data.data[4 * i + c] = 127.5 * (1 + d[c * n + i] / largest);
      data.data[4 * i + 3] = Math.min(255, Math.round(255 * largest / limit));
    }
  }
  context.putImageData(data, 0, 0);
}
function rgb(element, name, otherwise) {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = otherwise;
  probe.fillStyle = getComputedStyle(element).getPropertyValue(name).trim() || otherwise;
  return [1, 3, 5].map((at) => parseInt(probe.fillStyle.slice(at, at + 2), 16)).concat(255);
}

const percent = (p) => (p >= 0.995 ? "over 99\u00a0%" : p < 0.005 ? "under 1\u00a0%" : `${Math.round(100 * p)}\u00a0%`);
const short = (v) => (v >= 0.1 ? v.toFixed(2) : v.toPrecision(2)).replace(/^(\d+\.\d*?)0+$/, "$1").replace(/\.$/, "");
const best = (p) => p.reduce((b, v, k) => (v > p[b] ? k : b), 0);

/* --- the lab ------------------------------------------------------------------------------------------------ */

function start(root, backendFor, { page = null } = {}) {
  root.children[0].hidden = true;
  root.children[1].hidden = false;
  const spec = JSON.parse(root.querySelector(".lens-lab-spec").textContent);
  const $ = (name) => root.querySelector(`[data-lab="${name}"]`);
  const $$ = (selector) => [...root.querySelectorAll(selector)];
  const rows = Object.fromEntries($$(".lens-lab-net").map((row) => [row.dataset.net, Object.fromEntries(
    ["noise", "seen", "bars", "verdict", "seen-foot", "seen-caption"].map((name) => [name, row.querySelector(`[data-lab="${name}"]`)]).concat([["row", row]]))]));
  const named = (suffix) => $$(`input[name$="-${suffix}"]`);
  const backends = Object.fromEntries(Object.keys(spec.nets).map((net) => [net, backendFor(net)]));
  const images = Object.fromEntries(Object.entries(spec.groups).map(([name, group]) => [name, bytes(group.pixels)]));

  let state = { drawing: null, ...spec.start };
  let past = [], changed = { key: "", at: 0 };
  let asked = 0;
  let results = {};                       // net -> { token, of: state, x, response }
  let found = null;                       // { key, eps, norm, net }
  let colours = null, timers = {}, thumbed = null;
  const judged = new Map();               // net and key -> what it said
  const solved = new Set();

  const group = (s = state) => spec.groups[s.data];
  const walks = (s = state) => s.attack === "pgd" || s.attack === "ddn";
  const limit = (s = state) => group(s).limits[s.norm];
  const main = (s = state) => s.source || s.nets[0];
  const later = (name, ms, f) => { clearTimeout(timers[name]); timers[name] = setTimeout(f, ms); };
  const mostly = (s) => JSON.stringify([s.data, s.image, s.drawing && packed(s.drawing.pixels), main(s), s.attack, s.norm, s.attack === "pgd" ? s.steps : 0, s.target, s.jpeg, s.adaptive]);

  const volume = (s = state) => group(s).shape.reduce((a, b) => a * b);
  const unit = (levels) => Float32Array.from(levels, (v) => v / 255);
  const stored = (k, s = state) => unit(images[s.data].subarray(k * volume(s), (k + 1) * volume(s)));
  function pixels(s = state) {
    if (s.drawing) return s.drawing.pixels.some((v) => v) ? unit(s.drawing.pixels) : null;
    return s.image === null ? null : stored(s.image, s);
  }
  const truth = (s = state) => (s.image === null ? null : group(s).labels[s.image]);

  /* --- changing the state --- */

  const keep = () => { past = [...past.slice(1 - REMEMBERED), state]; };

  function change(key, values, { remember = true } = {}) {
    const now = Date.now();
    if (remember && !(key === changed.key && now - changed.at < TOGETHER)) keep();
    if (remember) changed = { key, at: now };
    const before = state;
    state = { ...state, ...values };
    if (!("eps" in values) && (state.norm !== before.norm || state.data !== before.data)) state.eps = rescaled(before.eps, limit(before), limit());
    if (["attack", "data", "image", "nets"].includes(key) || (key === "steps" && state.step !== null)) state.step = state.step === null ? null : 0;
    if (!state.nets.includes(state.source)) state.source = "";
    refresh();
  }
  const rescaled = (eps, [far], [farNow, step]) => Math.min(farNow, Math.round(eps / far * farNow / step) * step);

  function undo() {
    if (!past.length) return;
    state = past.at(-1);
    past = past.slice(0, -1);
    changed = { key: "", at: 0 };
    refresh();
  }

  function refresh() {
    sync();
    compute();
    address();
  }
  function address() {
    if (page && spec.full) later("link", LINK_PAUSE, () => history.replaceState(null, "", "#" + toLink(state)));
  }

  /* --- the controls say what the state is --- */

  function sync() {
    const g = group(), [far, step] = limit();
    root.dataset.nets = state.nets.length;
    if (thumbed !== state.data) thumbs();
    for (const input of named("image")) {
      input.checked = input.value === (state.image === null ? BLANK : String(state.image));
      if (input.value !== BLANK) input.setAttribute("aria-label", `test image: ${g.classes[g.labels[input.value]]}`);
    }
    if ($("blank")) $("blank").hidden = g.shape[0] !== 1;
    for (const [net, { row }] of Object.entries(rows)) row.hidden = !state.nets.includes(net);
    for (const [name, value] of [["attack", state.attack], ["norm", state.norm], ["data", state.data]]) for (const input of named(name)) input.checked = input.value === value;
    Object.assign($("eps"), { max: far, step, disabled: state.attack === "ddn" });
    if (state.attack !== "ddn") $("eps").value = state.eps;
    $("eps").setAttribute("aria-valuetext", `epsilon ${short(state.eps)}`);
    if (state.attack !== "ddn") $("eps-value").textContent = short(state.eps);
    $("far").textContent = short(far);
    $("unit").textContent = state.attack === "ddn" ? "found: the length" : UNITS[state.norm];
    if ($("about")) $("about").textContent = spec.hints[state.attack];
    if ($("walk")) $("walk").hidden = !walks();
    if ($("open") && page) Object.assign($("open"), { hidden: false, href: `${page.root}book/lab.html#${toLink(state)}` });
    root.classList.toggle("lens-lab-drawing", Boolean(state.drawing));
    root.classList.toggle("lens-lab-empty", state.image === null && !(state.drawing && state.drawing.pixels.some((v) => v)));
    root.classList.toggle("lens-lab-drawable", g.shape[0] === 1);
    $("pad-foot").textContent = state.drawing || g.shape[0] !== 1 ? "" : "draw your own: the pencil";
    if (spec.full) syncSettings(g);
    mark();
  }

  function syncSettings(g) {
    $("undo").disabled = !past.length;
    for (const input of named("nets")) {
      input.checked = state.nets.includes(input.value);
      input.disabled = input.checked && state.nets.length === 1;
      input.parentNode.hidden = !g.nets.includes(input.value);
    }
    options($("source"), [["", "each network its own"], ...state.nets.map((net) => [net, `made on ${spec.nets[net]}, shown to all`])], state.source);
    $("source").disabled = state.nets.length < 2;
    options($("target"), [["", "any other answer"], ...g.classes.map((name, k) => [k, `the answer ${name}`])], state.target ?? "");
    for (const input of named("norm")) input.disabled = state.attack !== "pgd";
    Object.assign($("steps"), { value: state.steps, disabled: state.attack !== "pgd" });
    $("steps-value").textContent = state.steps;
    $("jpeg").checked = state.jpeg !== null;
    Object.assign($("adaptive"), { checked: state.adaptive, disabled: state.jpeg === null });
    $("quality").disabled = state.jpeg === null;
    if (state.jpeg !== null) $("quality").value = state.jpeg;
    $("quality-value").textContent = $("quality").value;
  }
  function options(select, entries, chosen) {
    const key = JSON.stringify(entries);
    if (select.dataset.key !== key) select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
    select.dataset.key = key;
    select.value = chosen;
  }

  /* --- asking the networks --- */

  const request = (s, net, x, more = {}) => ({
    net, data: s.data, shape: group(s).shape, x, label: truth(s), attack: s.attack, norm: s.norm, eps: s.eps,
    steps: s.attack === "ddn" ? spec.ddn : s.steps, stepSize: null, target: s.target, jpeg: s.jpeg, adaptive: s.adaptive, seed: null, ...more,
  });
  const quietly = (error) => {
    if (error && error.name === "AbortError") return null;
    $("note").textContent = "The lab cannot compute here: " + (error && error.message || error);
    console.error(error);
    return null;
  };

  async function compute() {
    const s = state, x = pixels(s), token = ++asked;
    root.dataset.busy = "";
    if (!x) { results = {}; found = null; blank(); settle(token); return; }
    paint($("original"), x, group(s).shape);
    const one = async (net) => {
      const response = await backends[net].run(request(s, net, x)).catch(quietly);
      if (!response || (results[net] && results[net].token > token) || s.data !== state.data) return;
      results[net] = { token, of: s, x, response };
      if (token === asked || !s.source) await showAll(s.source ? state.nets : [net]);
    };
    await Promise.all((s.source ? [s.source] : s.nets).map(one));
    settle(token);
  }
  function settle(token) {
    if (token !== asked) return;
    delete root.dataset.busy;
    later("idle", IDLE, () => { if (token === asked && ["fgsm", "fgm"].includes(state.attack) && pixels()) smallest(); });
  }

  /* What a network says to an image as it is: asked once for each key. */
  async function judge(net, s, x, key) {
    const id = `${net} ${key}`;
    if (!judged.has(id)) {
      const said = await backends[net].run(request(s, net, x, { attack: "none" })).catch(quietly);
      if (!said) return null;
      if (judged.size > 50) judged.clear();
      judged.set(id, said);
    }
    return judged.get(id);
  }

  async function smallest() {
    const s = state, x = pixels(s), key = mostly(s), net = main(s);
    if (!x || (found && found.key === key)) return found;
    const least = await backends[net].smallest(request(s, net, x)).catch(quietly);
    if (!least || key !== mostly(state)) return null;
    found = { key, net, eps: least.eps, norm: least.norm };
    mark();
    return found;
  }

  /* --- showing --- */

  /* What stands in a network's row: {x, seen, p, clean}; null where it is not known yet. */
  async function point(net) {
    const from = results[state.source || net];
    if (!from) return null;
    const { of, x, response, token } = from, own = net === main() || !state.source;
    const step = state.step === null || !walks() ? null : Math.min(state.step, response.walk.length - 1);
    const at = step === null ? response.adversarial : response.walk[step].x;
    const known = { x: at, original: x, label: truth(of), walk: own ? response.walk : null };
    if (own && step === null) return { ...known, seen: response.seen, p: response.attacked.probabilities, clean: response.clean.probabilities };
    if (own && of.jpeg === null) return { ...known, seen: at, p: response.walk[step].probabilities, clean: response.clean.probabilities };
    const image = `${of.data} ${of.image} ${of.drawing && packed(of.drawing.pixels)} ${of.jpeg}`;
    const clean = own ? response.clean : (await judge(net, of, x, image))?.clean;
    const said = await judge(net, of, at, `${token} ${step}`);
    return clean && said && { ...known, seen: said.seen, p: said.attacked.probabilities, clean: clean.probabilities };
  }

  async function showAll(nets = state.nets) {
    const told = {};
    for (const net of nets) {
      if (!state.nets.includes(net)) continue;
      const p = await point(net);
      if (p && state.nets.includes(net)) { told[net] = p; show(net, p); }
    }
    showWalk();
    goals(told);
  }

  function show(net, { x, original, seen, p, clean, label }) {
    const row = rows[net], g = group(), d = x.map((v, i) => v - original[i]);
    const largest = d.reduce((a, v) => Math.max(a, Math.abs(v)), 0), length = Math.sqrt(d.reduce((a, v) => a + v * v, 0));
    const say = best(p), before = best(clean), right = label ?? before;
    colours ??= [rgb(root, "--lens-orange", "#d55e00"), rgb(root, "--lens-blue", "#0072b2")];
    paintNoise(row.noise, d, g.shape, g.limits.noise, colours);
    paint(row.seen, seen, g.shape);
    row.noise.setAttribute("aria-label", largest ? `noise, largest change ${short(largest)}, length ${short(length)}` : "no noise yet");
    row.seen.setAttribute("aria-label", `what the network sees; it says ${g.classes[say]}`);
    row["seen-caption"].innerHTML = state.jpeg === null ? "= <span>what the net </span>sees" : `= <span>sees, after </span>JPEG ${state.jpeg}`;
    row["seen-foot"].innerHTML = largest ? `largest ${short(largest)}<span>, length ${short(length)}</span>` : "nothing changed";
    if (state.attack === "ddn" && net === main()) { $("eps").value = length; $("eps-value").textContent = short(length); }
    row.row.dataset.verdict = say === right ? "right" : "wrong";
    bars(row.bars, p, clean, right, say, g.classes);
    const text = sentence(spec.nets[net], g.classes, { say, before, right, p, clean, label, changed: largest > 0 });
    if (row.verdict.textContent !== text) row.verdict.textContent = text;
  }

  function sentence(name, classes, { say, before, right, p, clean, label, changed: moved }) {
    const now = `${classes[say]} (${percent(p[say])})`;
    if (!moved) return label === null ? `${name} reads ${now}.` : say === right ? `${name} says ${now}: right.` : `${name} says ${now}: wrong, it is ${classes[right]}.`;
    if (state.target !== null && say === state.target && say !== right) return `${name} is fooled, as you wanted: ${now}.`;
    if (say === right) return `${name} still says ${now}.`;
    if (before !== right) return `${name} says ${now}: wrong, as it was before.`;
    return `${name} is fooled: ${now}, before ${classes[before]} (${percent(clean[before])}).`;
  }

  function bars(box, p, clean, right, say, classes) {
    const order = p.map((v, k) => [Math.max(v, clean[k] - 1e-9), k]).sort((a, b) => b[0] - a[0]);
    const top = new Set(order.slice(0, 4).map(([, k]) => k));
    [...box.children].forEach((bar, k) => {
      if (bar.firstChild.textContent !== classes[k]) bar.firstChild.textContent = classes[k];
      bar.style.setProperty("--p", p[k].toFixed(4));
      bar.style.setProperty("--before", clean[k].toFixed(4));
      bar.className = `lens-lab-bar${k === right ? " is-right" : ""}${k === say && k !== right ? " is-wrong" : ""}${top.has(k) ? " is-top" : ""}`;
      bar.lastChild.textContent = p[k] >= 0.995 ? ">\u200999\u00a0%" : p[k] >= 0.005 ? `${Math.round(100 * p[k])}\u00a0%` : "";
    });
    box.setAttribute("aria-label", "answers: " + order.slice(0, 3).map(([, k]) => `${classes[k]} ${percent(p[k])}`).join(", "));
  }

  /* An empty page: nothing to see, nothing to say. */
  function blank() {
    const { shape, limits, classes } = group(), none = new Float32Array(volume());
    paint($("original"), none, shape);
    for (const net of state.nets) {
      const row = rows[net], p = classes.map(() => 0);
      paintNoise(row.noise, none, shape, limits.noise, [[0, 0, 0, 0], [0, 0, 0, 0]]);
      paint(row.seen, none, shape);
      bars(row.bars, p, p, -1, -1, classes);
      delete row.row.dataset.verdict;
      row["seen-foot"].textContent = "";
      row.verdict.textContent = "Draw a digit, or choose an image.";
    }
    showWalk();
    goals({});
  }

  const STROKES = ["", "6 4", "2 3"];
  function showWalk() {
    if (!$("walk") || !walks()) return;
    const of = (state.source ? [state.source] : state.nets).filter((net) => results[net] && results[net].response.walk.length > 1);
    const steps = Math.max(1, ...of.map((net) => results[net].response.walk.length - 1));
    const first = of.length ? results[of[0]] : null;
    const at = state.step === null ? (first ? first.response.best : 0) : Math.min(state.step, steps);
    Object.assign($("step"), { max: steps, value: at });
    $("step-value").textContent = `${at} of ${steps}`;
    const said = first && first.response.walk[Math.min(at, first.response.walk.length - 1)].probabilities;
    $("step").setAttribute("aria-valuetext", said ? `step ${at}, ${spec.nets[of[0]]} says ${group().classes[best(said)]}` : `step ${at}`);
    const upTo = state.step === null ? steps : at;
    const all = of.flatMap((net) => results[net].response.walk.map((w) => w.loss)).filter(Number.isFinite);
    const low = Math.min(-1, ...all), high = Math.max(1, ...all), y = (v) => 66 - 60 * (Math.max(low, Math.min(high, v)) - low) / (high - low);
    $("loss").innerHTML = `<path class="zero" d="M0 ${y(0).toFixed(1)}H300"/>` + of.map((net, k) => {
      const { response, of: s } = results[net], label = response.label, walked = response.walk.slice(0, upTo + 1);
      const xy = walked.map((w, i) => `${(4 + 292 * i / steps).toFixed(1)} ${y(w.loss).toFixed(1)}`);
      const dots = walked.map((w, i) => `<path class="${best(w.probabilities) === label ? "right" : "wrong"}${i === at ? " here" : ""}" d="M${xy[i]}h0"/>`);
      return `<path stroke-dasharray="${STROKES[k]}" d="M${xy.join("L")}"/>${dots.join("")}`;
    }).join("");
    const label = first && first.response.label;
    const turn = first ? first.response.walk.findIndex((w) => best(w.probabilities) !== label) : -1;
    $("turn").hidden = !(turn > 0);
    $("turn").style.setProperty("--at", turn / steps);
    $("loss").setAttribute("aria-label", first ? `the loss of ${spec.nets[of[0]]} along the walk: ${first.response.walk[0].loss.toFixed(1)} at the start, ${first.response.walk.at(-1).loss.toFixed(1)} at step ${steps}` : "the loss along the walk");
    $("loss-words").textContent = (state.target === null ? "the log-odds of a wrong answer" : `the log-odds of the answer ${group().classes[state.target]}`)
      + (of.length > 1 ? "; " + of.map((net, k) => `${spec.nets[net]} ${["solid", "dashed", "dotted"][k]}`).join(", ") : "");
  }

  /* The smallest epsilon, beside and on the slider. */
  function mark() {
    const known = found && found.key === mostly(state) ? found : null, [far] = limit(), ddn = state.attack === "ddn";
    const here = known && known.eps !== null && known.eps > 0 && known.eps <= far;
    $("flip").hidden = !here;
    if (here) $("flip").style.setProperty("--at", known.eps / far);
    $("found").textContent = !known ? "" : known.eps === null ? `${spec.nets[known.net]} is not fooled by any ε`
      : known.eps === 0 ? `${spec.nets[known.net]} is wrong already` : known.eps > far && !ddn ? `${spec.nets[known.net]} flips at ε = ${short(known.eps)}, further right`
      : `▲ ${spec.nets[known.net]} flips at ε = ${known.eps.toPrecision(2)}`;
  }

  /* --- the challenge --- */

  function goals(told) {
    if (!$("challenge")) return;
    const taken = state.source === "lenet" && state.nets.includes("mnist_resnet");
    const { lenet, mnist_resnet: other } = told, both = taken && lenet && other;
    const right = both && (lenet.label ?? best(lenet.clean)), agreed = both && best(lenet.clean) === right && best(other.clean) === right;
    const small = both && lenet.x.every((v, i) => Math.abs(v - lenet.original[i]) <= CHALLENGE + 1e-6);
    const done = { fooled: agreed && best(lenet.p) !== right, kept: agreed && best(other.p) === right, small };
    for (const [name, value] of Object.entries(done)) {
      const item = $(`goal-${name}`), reached = Boolean(value) && (name !== "small" || done.fooled);
      item.classList.toggle("is-done", reached);
      item.querySelector("[data-said]").textContent = reached ? "done: " : "not yet: ";
    }
    if (both && done.fooled && done.kept && done.small) solved.add(lenet.label === null ? "your own drawing" : group().classes[lenet.label]);
    const text = solved.size ? `Solved with ${[...solved].sort().join(", ")}.` + (solved.size < 10 ? " Another?" : "") : "";
    if ($("solved").textContent !== text) $("solved").textContent = text;
  }

  /* --- events --- */

  const actions = {
    eps: (input) => change("eps", { eps: +input.value, step: walks() && state.step === 0 ? 0 : null }),
    step: (input) => {                                 // the walk is known: nothing to compute
      if (changed.key !== "step") keep();
      changed = { key: "step", at: 0 };
      state = { ...state, step: +input.value };
      sync();
      showAll();
      address();
    },
    steps: (input) => change("steps", { steps: +input.value }),
    target: (input) => change("target", { target: input.value === "" ? null : +input.value }),
    source: (input) => change("source", { source: input.value }),
    jpeg: (input) => change("jpeg", { jpeg: input.checked ? +$("quality").value : null }),
    adaptive: (input) => change("adaptive", { adaptive: input.checked }),
    quality: (input) => change("quality", { jpeg: +input.value }),
  };
  const radios = {
    image: (value) => (value === BLANK ? change("blank", { image: null, drawing: { strokes: [], pixels: fitted([]) } })
      : change("image", { image: +value, drawing: null })),
    attack: (value) => change("attack", { attack: value, norm: normOf(value, state.norm), step: null }),
    norm: (value) => change("norm", { norm: value }),
    data: (value) => change("data", { data: value, nets: spec.groups[value].nets.slice(0, 1), image: 0, drawing: null, target: null, source: "" }),
    nets: (value, input) => change("nets", { nets: group().nets.filter((net) => (net === value ? input.checked : state.nets.includes(net))) }),
  };
  root.addEventListener("input", (event) => {
    const input = event.target, name = input.dataset.lab || "", radio = (input.name || "").split("-").at(-1);
    if (actions[name]) actions[name](input);
    else if (radios[radio]) radios[radio](input.value, input);
  });
  /* Choosing the empty page again empties it. */
  if ($("blank")) $("blank").querySelector("input").addEventListener("click", () => { if (state.drawing && state.drawing.strokes.length) radios.image(BLANK); });

  const buttons = {
    undo,
    smallest: async () => {
      $("note").textContent = "Looking for it …";
      const known = await smallest();
      $("note").textContent = "";
      if (!known || known.eps === null) { if (known) $("note").textContent = `No ε fools ${spec.nets[known.net]} here.`; return; }
      const [far, step] = limit();
      if (state.attack !== "ddn") change("smallest", { eps: Math.min(far, +(Math.ceil(known.eps / step - 1e-9) * step).toPrecision(6)), step: null });
      $("note").textContent = known.eps ? `${spec.nets[known.net]} flips at ε = ${known.eps.toPrecision(2)} (${UNITS[known.norm]}).` : `${spec.nets[known.net]} is wrong already.`;
    },
    share: async () => {
      const link = (page ? location.href.replace(/#.*/, "") : "") + "#" + toLink(state);
      if (page) history.replaceState(null, "", link);
      try { await navigator.clipboard.writeText(link); $("note").textContent = "The link is copied: it restores all of this."; }
      catch { $("note").textContent = "Copy the address of this page: it restores all of this."; }
    },
    challenge: () => {
      const data = Object.keys(spec.groups).find((name) => spec.groups[name].nets.includes("lenet"));
      change("challenge", { data, nets: ["lenet", "mnist_resnet"], source: "lenet", attack: "fgsm", norm: "linf", eps: CHALLENGE, target: null, jpeg: null, step: null, ...(state.data === data ? {} : { image: 0, drawing: null }) });
      root.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    },
  };
  root.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-lab]");
    if (button && buttons[button.dataset.lab]) buttons[button.dataset.lab]();
  });
  root.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z") { event.preventDefault(); undo(); }
  });

  /* The pad.  While a hand draws, its own lines stand there; a moment later what the network is given. */
  const ink = $("ink"), pad = ink.parentNode;
  let stroke = null, queued = false;
  const where = (e) => { const box = pad.getBoundingClientRect(); return [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height]; };
  function redraw() {
    const context = pen(ink.getContext("2d"), 20), strokes = state.drawing ? state.drawing.strokes : [];
    context.clearRect(0, 0, ink.width, ink.height);
    lines(context, strokes, ([x, y]) => [x * ink.width, y * ink.height]);
  }
  function drawn(strokes, remember) {
    change("stroke", { image: null, drawing: { strokes, pixels: fitted(strokes) }, step: null }, { remember });
    redraw();
    root.classList.add("lens-lab-inking");
    later("ink", 900, () => { if (!stroke) root.classList.remove("lens-lab-inking"); });
  }
  pad.addEventListener("pointerdown", (event) => {
    if (group().shape[0] !== 1 || event.button > 0) return;
    if (event.pointerType === "touch" && !state.drawing) return;   // a finger that scrolls past does not draw
    event.preventDefault();
    pad.setPointerCapture(event.pointerId);
    stroke = [where(event)];
    changed = { key: "", at: 0 };                      // each stroke is undone by itself
    drawn([...(state.drawing ? state.drawing.strokes : []), stroke], true);
  });
  pad.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const e of events.length ? events : [event]) stroke.push(where(e));
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; if (stroke) drawn([...state.drawing.strokes.slice(0, -1), [...stroke]], false); });
  });
  for (const kind of ["pointerup", "pointercancel"]) pad.addEventListener(kind, () => {
    if (!stroke) return;
    const last = stroke;
    stroke = null;
    drawn([...state.drawing.strokes.slice(0, -1), last], false);
  });

  /* --- the beginning --- */

  function thumbs() {
    thumbed = state.data;
    $$(".lens-lab-thumb canvas").forEach((canvas, k) => paint(canvas, stored(k), group().shape));
  }
  const linked = page && spec.full ? fromLink(location.hash.slice(1), spec) : null;
  if (linked) state = linked;
  sync();
  /* Before anything is computed: the image, and what the nets are known to say to it. */
  const x = pixels();
  if (x && !linked) {
    paint($("original"), x, group().shape);
    for (const net of state.nets) { const p = group().clean[net][state.image]; show(net, { x, original: x, seen: x, p, clean: p, label: truth() }); }
    showWalk();
  } else if (!x) blank();

  const begin = () => {
    for (const net of state.nets) backends[net].warm(state.data).catch(quietly);
    compute();
  };
  if (linked || !("IntersectionObserver" in globalThis)) begin();
  else {
    const watch = new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting)) { watch.disconnect(); if (!asked) begin(); } }, { rootMargin: "400px" });
    watch.observe(root);
  }
  new MutationObserver(() => { colours = null; if (Object.keys(results).length) showAll(); }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  if (page && spec.full) addEventListener("hashchange", () => {
    const other = fromLink(location.hash.slice(1), spec);
    if (other) { keep(); state = other; redraw(); refresh(); }
  });
}

/* --- two homes --- */

function render({ model, el }) {
  el.innerHTML = model.get("html");
  const root = el.querySelector(".lens-lab");
  // JupyterLab takes the arrow keys for itself, unless the element that has the focus says no.
  for (const control of root.querySelectorAll("input, select, button, summary")) control.setAttribute("data-lm-suppress-shortcuts", "");
  start(root, inPython(model));
}

/* Every lab of a static page. */
function mount(within) {
  const up = document.documentElement.dataset.content_root || "./";
  for (const root of within.querySelectorAll(".lens-lab")) start(root, inPage(`${up}_static/lab/`), { page: { root: up } });
}

export default { render, mount };
