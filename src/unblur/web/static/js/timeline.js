// A clip over time: how it is blurred, its cuts and blocks; a frame and a part of it to choose.

import { canvasFont, colour, el, fitted, redrawn } from "./dom.js";
import { clock, number, t } from "./texts.js";

/**
 * A timeline of a clip.
 * onframe(n): another frame is looked at; onpart(start, end): another part is chosen (end is left out).
 */
export function timeline(clip, { onframe, onpart }) {
  const count = Math.max(1, clip.frames ?? 1);
  const state = { frame: 0, start: 0, end: count, found: null };
  const canvas = el("canvas", { "aria-hidden": "true" });
  const slider = el("input", {
    type: "range", min: 0, max: count - 1, step: 1, value: 0, "aria-label": t("frame"),
    oninput: () => look(+slider.value),
  });
  const from = el("input", { type: "number", min: 0, max: count - 1, value: 0, onchange: () => part(+from.value, state.end) });
  const to = el("input", { type: "number", min: 1, max: count, value: count, onchange: () => part(state.start, +to.value) });
  const note = el("span.soft.small");
  const button = (text, onclick) => el("button", { type: "button", onclick }, text);
  const legend = el("ul.legend", { hidden: true },
    ...["motion", "focus", "codec"].map((k) => el("li", {}, el(`i.c-${k}`), t(`legend.${k}`))),
    ...["sharp", "both"].map((k) => el("li", {}, el(`i.c-${k}`), t(`legend.${k}`))));
  const labelled = (text, input) => el("label.field", {}, text, input);
  const node = el(".timeline", {}, canvas, slider, legend,
    el(".row", {},
      labelled(t("part.from"), from), button(t("part.start.here"), () => part(state.frame, state.end)),
      labelled(t("part.to"), to), button(t("part.end.here"), () => part(state.start, state.frame + 1)),
      button(t("part.all"), () => part(0, count)), note));

  function look(n, quiet = false) {
    state.frame = Math.min(count - 1, Math.max(0, Math.round(n)));
    slider.value = state.frame;
    draw();
    if (!quiet) onframe?.(state.frame);
  }

  function part(start, end, quiet = false) {
    start = Math.min(count - 1, Math.max(0, Math.round(start) || 0));
    end = Math.min(count, Math.max(start + 1, Math.round(end) || count));
    Object.assign(state, { start, end });
    from.value = start;
    to.value = end;
    const seconds = clip.rate ? ` · ${clock((end - start) / clip.rate)}` : "";
    note.textContent = t("part.frames", { n: end - start }) + seconds;
    draw();
    if (!quiet) onpart?.(start, end);
  }

  function draw() {
    const fit = fitted(canvas);
    if (!fit) return;
    const { g, width, height } = fit;
    const x = (n) => (n / count) * width;
    g.font = canvasFont();
    const bottom = height - 22 - parseFloat(g.font);
    g.fillStyle = colour("--shade");
    g.fillRect(x(state.start), 0, x(state.end) - x(state.start), height);
    const found = state.found;
    if (found) {
      const frames = found.frames;
      const most = Math.max(4, ...frames.map((f) => Math.max(f.motion, f.radius)));
      g.strokeStyle = colour("--line");
      g.fillStyle = colour("--soft");
      for (let n = 0; n <= 2; n++) {
        const y = bottom - (n / 2) * (bottom - 16);
        g.beginPath(); g.moveTo(0, y); g.lineTo(width, y); g.stroke();
        g.fillText(`${number((most * n) / 2, most < 10 ? 1 : 0)} px`, 3, y - 3);
      }
      const curve = (value, name) => {
        g.strokeStyle = colour(name);
        g.lineWidth = 2;
        g.beginPath();
        frames.forEach((f, i) => g[i ? "lineTo" : "moveTo"](x(f.index + 0.5), bottom - value(f) * (bottom - 16)));
        if (frames.length === 1) g.lineTo(width, bottom - value(frames[0]) * (bottom - 16));
        g.stroke();
        g.lineWidth = 1;
      };
      curve((f) => Math.min(1, f.blockiness), "--codec");
      curve((f) => f.radius / most, "--focus");
      curve((f) => f.motion / most, "--motion");
      frames.forEach((f, i) => {
        const next = frames[i + 1]?.index ?? found.count;
        g.fillStyle = colour(`--${f.kind}`);
        g.fillRect(x(f.index), bottom + 6, x(next) - x(f.index) + 0.5, 12);
      });
      g.strokeStyle = colour("--ink");
      g.fillStyle = colour("--ink");
      let free = 0;
      for (const shot of found.shots) {
        const left = x(shot.start);
        if (shot.start > 0) { g.beginPath(); g.setLineDash([4, 3]); g.moveTo(left, 0); g.lineTo(left, bottom + 20); g.stroke(); g.setLineDash([]); }
        if (left >= free) { g.fillText(shot.model, left + 3, height - 4); free = left + g.measureText(shot.model).width + 10; }
      }
    }
    g.fillStyle = colour("--accent");
    for (const edge of [state.start, state.end]) g.fillRect(Math.min(width - 3, Math.max(0, x(edge) - 1.5)), 0, 3, height);
    g.fillStyle = colour("--ink");
    g.fillRect(x(state.frame + 0.5) - 1, 0, 2, height);
  }

  let held = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * count;
  };
  const near = (event, edge) => Math.abs(((at(event) - edge) / count) * canvas.clientWidth) < 7;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held = near(event, state.start) && state.start > 0 ? "start" : near(event, state.end) ? "end" : "frame";
    if (held === "frame") look(Math.floor(at(event)));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held || !canvas.hasPointerCapture(event.pointerId)) return;
    if (held === "frame") look(Math.floor(at(event)));
    else if (held === "start") part(Math.min(at(event), state.end - 1), state.end);
    else part(state.start, at(event));
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  slider.addEventListener("keydown", (event) => {
    if (event.key === "[") part(state.frame, state.end);
    if (event.key === "]") part(state.start, state.frame + 1);
  });
  redrawn(canvas, draw);
  part(0, count, true);
  return { node, state, look, part, show(found) { state.found = found; legend.hidden = !found; draw(); } };
}
