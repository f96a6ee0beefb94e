// Moves the widgets of the course.  The HTML is whole without it (advlens/course/widgets.py);
// here are its two homes: `render` in a live notebook (anywidget), `mount` on a static page.

let groups = 0; // names of radio groups, one for each time that a widget is shown

// --- controls: a slider or radio buttons, both an index ------------------------------------

function control(part, changed) {
  const name = part.dataset.name;
  const labels = JSON.parse(part.dataset.labels);
  const flips = JSON.parse(part.dataset.flips || "[]");
  const inputs = [...part.querySelectorAll("input")];
  const slider = inputs[0].type === "range" ? inputs[0] : null;
  if (!slider) groups += 1;
  for (const input of inputs) {
    if (!slider) input.name = `lens-${groups}`;
    input.addEventListener("input", changed);
  }

  // outer: the index of the other control, on which it depends where the answer flips.
  function set(index, outer) {
    const flip = flips[flips.length > 1 ? outer : 0] ?? -1;
    for (const mark of part.querySelectorAll(".lens-flips, .lens-ticks .lens-mark")) {
      mark.style.visibility = flip < 0 ? "hidden" : "";
    }
    if (slider) {
      slider.value = index;
      slider.setAttribute("aria-valuetext", `${words(index)}${index === flip ? ", the answer flips" : ""}`);
      part.querySelector(".lens-value").textContent = labels[index];
      part.style.setProperty("--flip", flip);
      return;
    }
    inputs.forEach((input, i) => {
      input.checked = i === index;
      input.parentElement.classList.toggle("lens-here", i === flip);
      if (i === flip) input.setAttribute("aria-label", `${labels[i]}, the answer flips`);
      else input.removeAttribute("aria-label");
    });
  }

  const words = (index) => `${name} ${labels[index]}`;
  const get = () => (slider ? Number(slider.value) : inputs.findIndex((input) => input.checked));
  return { get, set, words, size: labels.length };
}

// --- a picture with controls ---------------------------------------------------------------

// Returns show(chosen), chosen: an index for each control.  tell(chosen) is called when the reader moves one.
function explore(root, tell) {
  const stage = root.querySelector(".lens-stage");
  const status = root.querySelector("[role=status]");
  const at = root.querySelector(".lens-at");
  const stored = root.querySelector("script").textContent;
  const middle = Number(root.dataset.middle);
  const middleAt = at.textContent;
  const first = root.querySelector(".lens-first .lens-frame");
  const frames = new Map([[middle, root.querySelector(".lens-middle .lens-frame")]]);
  if (first) frames.set(0, first);

  const controls = [...root.querySelectorAll(".lens-control")].map((part) => control(part, moved));
  let texts; // read when first needed: most readers of a page do not move everything
  let current = 0;
  let touched = false;
  let speaking;

  function frame(number) {
    if (!frames.has(number)) {
      texts ??= JSON.parse(stored);
      const holder = document.createElement("template");
      holder.innerHTML = texts[number];
      frames.set(number, document.importNode(holder.content, true).firstElementChild);
    }
    return frames.get(number);
  }

  // The picture area keeps its height, so that nothing below jumps.
  function place(number) {
    stage.style.minHeight = `${stage.offsetHeight}px`;
    stage.replaceChildren(frame(number));
  }

  const words = (chosen) => controls.map((one, i) => one.words(chosen[i])).join(", ");

  // A lazy picture that left the page before it came never comes; a copy of it does.
  function loaded(image) {
    if (image.complete || image.loading !== "lazy") return image;
    const copy = new Image();
    copy.src = image.src;
    return copy;
  }

  async function show(chosen) {
    controls.forEach((one, i) => one.set(chosen[i], chosen[0]));
    at.textContent = words(chosen);
    const number = chosen.reduce((sum, index, i) => sum * controls[i].size + index, 0);
    current = number;
    // A picture that cannot be decoded is shown as it is.
    await Promise.all([...frame(number).querySelectorAll("img")].map((image) => loaded(image).decode().catch(() => {})));
    if (current === number) place(number);
  }

  function moved() {
    touched = true;
    const chosen = controls.map((one) => one.get());
    tell(chosen);
    show(chosen);
    clearTimeout(speaking);
    speaking = setTimeout(() => { status.textContent = frame(current).querySelector("[aria-label]").ariaLabel; }, 300);
  }

  // Paper shows the middle frame, unless the reader has chosen another one.
  matchMedia("print").addEventListener("change", ({ matches }) => {
    if (touched) return;
    place(matches ? middle : current);
    at.textContent = matches ? middleAt : words(controls.map((one) => one.get()));
  });

  let width; // known once the page is laid out: asking earlier would lay it out on the spot
  new ResizeObserver(() => {
    if (width !== undefined && stage.clientWidth !== width) stage.style.minHeight = "";
    width = stage.clientWidth;
  }).observe(stage);

  // On the site the larger pictures wait in files: whoever comes near will want them soon.
  const fetched = () => {
    texts ??= JSON.parse(stored);
    texts.forEach((text, number) => frame(number));
  };
  for (const near of ["pointerenter", "focusin"]) root.addEventListener(near, fetched, { once: true });

  root.querySelector(".lens-controls").hidden = false;
  stage.replaceChildren(frame(0));
  root.classList.add("lens-live");
  controls.forEach((one) => one.set(0, 0));
  at.textContent = words(controls.map(() => 0));
  return show;
}

// --- a question ------------------------------------------------------------------------------

// Returns show(chosen), chosen: [], [an answer's index] or [-1] for "Show me".
function predict(root, tell) {
  const options = root.querySelector(".lens-options");
  const said = root.querySelector("[role=status]");
  const help = root.querySelector(".lens-show");
  const buttons = [...options.children];
  const replies = [...root.querySelectorAll(".lens-replies > li")];
  const right = replies.findIndex((reply) => reply.classList.contains("lens-right"));

  function show([chosen]) {
    buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", i === chosen);
      button.classList.toggle("lens-right", i === right && (i === chosen || chosen === -1));
      button.classList.toggle("lens-wrong", i === chosen && i !== right);
    });
    said.className = "lens-said";
    said.replaceChildren();
    if (chosen === undefined) return;
    const reply = replies[chosen < 0 ? right : chosen].querySelector(".lens-reply").cloneNode(true);
    if (chosen < 0) reply.firstElementChild.textContent = `The answer: ${buttons[right].textContent}.`;
    said.classList.add(chosen < 0 || chosen === right ? "lens-right" : "lens-wrong");
    said.append(reply);
    help.hidden = chosen === right;
  }

  const choose = (index) => { tell([index]); show([index]); };
  buttons.forEach((button, i) => button.addEventListener("click", () => choose(i)));
  help.addEventListener("click", () => choose(-1));
  options.hidden = help.hidden = false;
  root.classList.add("lens-live");
  return show;
}

// --- two homes ---------------------------------------------------------------------------------

function render({ model, el }) {
  el.innerHTML = model.get("html");
  const root = el.firstElementChild;
  // JupyterLab would take the arrow keys for its cells.
  for (const control of root.querySelectorAll("input, button")) control.dataset.lmSuppressShortcuts = "true";
  const wire = root.classList.contains("lens-explore") ? explore : predict;
  const show = wire(root, (chosen) => { model.set("chosen", chosen); model.save_changes(); });
  const follow = () => show(model.get("chosen"));
  model.on("change:chosen", follow);
  follow();
  return () => model.off("change:chosen", follow);
}

// A question covers what is marked so behind it, up to the next question.
function mount(page) {
  const covers = new Map(); // covered element -> opens all that its question covers
  let open = null;
  for (const part of page.querySelectorAll(".lens-explore, .lens-predict, .tag_covered, .covered")) {
    if (part.matches(".lens-explore")) explore(part, () => {});
    else if (part.matches(".lens-predict")) {
      const hidden = [];
      open = () => hidden.forEach((one) => one.classList.add("lens-open"));
      open.covers = hidden;
      predict(part, open);
    } else if (open) {
      open.covers.push(part);
      covers.set(part, open);
    } else part.classList.add("lens-open");
  }

  // A link to a place that is covered opens it.
  function arrive() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const cover = target?.closest(".tag_covered, .covered");
    if (!cover || cover.classList.contains("lens-open")) return;
    covers.get(cover)();
    target.scrollIntoView();
  }
  addEventListener("hashchange", arrive);
  arrive();
}

export default { render, mount };
