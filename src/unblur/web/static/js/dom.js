// Small means to build elements, and images that follow a slider.

/** An element: el("button.primary", {onclick}, "text", child). Properties with a dash are attributes. */
export function el(what, props = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.includes("-") || name === "role" || name === "for" || name === "list") {
      node.setAttribute(name, value === true ? "" : value);
    } else node[name] = value;
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

let count = 0;

/** A labelled control; `shown(value)` is written beside a slider. */
export function field(label, control, shown) {
  control.id ||= `f${++count}`;
  const box = el(".field", {}, el("label", { htmlFor: control.id }, label), control);
  if (shown) {
    const out = el("output", { htmlFor: control.id });
    const update = () => { out.textContent = shown(control.value); };
    control.addEventListener("input", update);
    box.firstChild.append(" ", out);
    update();
  }
  return box;
}

/** A list to choose from; options are [value, text]. */
export function choice(options, value, onchange) {
  const node = el("select", { onchange: () => onchange?.(node.value) });
  for (const [key, text] of options) node.append(el("option", { value: key }, text));
  if (value !== undefined && value !== null) node.value = value;
  return node;
}

/** A slider. */
export function range(min, max, step, value, oninput) {
  return el("input", { type: "range", min, max, step, value, oninput });
}

let quietAfter = 0;

/** Says something that goes by. */
export function say(text, stays = false) {
  const node = document.getElementById("status");
  node.textContent = text;
  clearTimeout(quietAfter);
  if (!stays) quietAfter = setTimeout(() => { node.textContent = ""; }, 6000);
}

/** Calls `work` a while after the last call. */
export function later(work, wait = 250) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait);
  };
}

/** Does work one at a time: while one is on its way only the last call waits. */
export function latest(work) {
  let busy = false;
  let waiting = null;
  return async function call(...args) {
    if (busy) { waiting = args; return; }
    busy = true;
    try { await work(...args); } finally {
      busy = false;
      if (waiting) { const next = waiting; waiting = null; call(...next); }
    }
  };
}

/** Colour of a variable of the page's style. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The font of canvases, as large as the page's. */
export const canvasFont = () =>
  `${0.8 * parseFloat(getComputedStyle(document.documentElement).fontSize)}px system-ui, sans-serif`;

/** A canvas's context with a pixel for each of the screen's; null while it is not shown. */
export function fitted(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width) return null;
  const by = window.devicePixelRatio || 1;
  const size = [Math.round(width * by), Math.round(height * by)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const g = canvas.getContext("2d");
  g.setTransform(by, 0, 0, by, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

/** Redraws where size or colours of the page change. */
export function redrawn(canvas, draw) {
  new ResizeObserver(() => draw()).observe(canvas);
  window.addEventListener("themechange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
