// Painting on an atlas, and five frames that show it at once.

import { exporter, frames } from "./atlas.js";
import { choice, el, field, later, range, say } from "./dom.js";
import { t } from "./texts.js";

const UNDO = 10;

export function paint(project) {
  const state = { layer: project.layers[0].name, overlays: {}, sent: {} };
  const back = el("canvas", { "aria-hidden": "true" });
  const over = el("canvas.over", { tabIndex: 0, role: "application", "aria-label": t("paint.canvas") });
  const paper = el(".paper", {}, back, over);
  const cursor = { x: 0, y: 0 };
  const ink = over.getContext("2d", { willReadFrequently: true });
  const undo = [];
  const tool = choice(["brush", "eraser", "text"].map((k) => [k, t(`tool.${k}`)]), "brush", () => { words.parentNode.hidden = tool.value !== "text"; });
  const shade = el("input", { type: "color", value: "#ff3b30" });
  const size = range(2, 200, 1, Math.max(4, Math.round(project.layers[0].width / 24)));
  const strength = range(0.05, 1, 0.05, 1);
  const words = el("input", { type: "text", value: "unblur", maxLength: 80 });
  const layer = choice(project.layers.map((l) => [l.name, l.name]), state.layer, (name) => { state.layer = name; load(); });
  const mode = choice(["edit-reblurred", "edit-over-original", "edit-sharp"].map((m) => [m, t(`look.${m}`)]), "edit-reblurred", () => show());

  const about = () => project.layers.find((l) => l.name === state.layer);

  function load() {
    const { width, height, name } = about();
    for (const c of [back, over]) [c.width, c.height] = [width, height];
    Object.assign(cursor, { x: width / 2, y: height / 2 });
    undo.length = 0;
    const img = new Image();
    img.onload = () => back.getContext("2d").drawImage(img, 0, 0);
    img.src = `/api/projects/${project.id}/atlases/${name}`;
    const held = state.overlays[name];
    if (held) ink.putImageData(held, 0, 0);
  }

  function remember() {
    undo.push(ink.getImageData(0, 0, over.width, over.height));
    if (undo.length > UNDO) undo.shift();
  }

  function dab(x, y, fromX = x, fromY = y) {
    const g = ink;
    g.globalCompositeOperation = tool.value === "eraser" ? "destination-out" : "source-over";
    g.globalAlpha = +strength.value;
    g.fillStyle = g.strokeStyle = shade.value;
    if (tool.value === "text") {
      g.font = `700 ${2 * size.value}px system-ui, sans-serif`;
      g.textAlign = "center";
      g.textBaseline = "middle";
      g.fillText(words.value, x, y);
    } else {
      g.lineWidth = +size.value;
      g.lineCap = "round";
      g.beginPath();
      g.moveTo(fromX, fromY);
      g.lineTo(x + 0.01, y);
      g.stroke();
    }
    g.globalAlpha = 1;
  }

  const at = (event) => {
    const box = over.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * over.width, ((event.clientY - box.top) / box.height) * over.height];
  };
  let last = null;
  over.addEventListener("pointerdown", (event) => {
    over.setPointerCapture(event.pointerId);
    remember();
    last = at(event);
    dab(...last);
  });
  over.addEventListener("pointermove", (event) => {
    if (!last || tool.value === "text") return;
    const now = at(event);
    dab(...now, ...last);
    last = now;
  });
  over.addEventListener("pointerup", () => { if (last) { last = null; send(); } });
  over.addEventListener("keydown", (event) => {
    const by = event.shiftKey ? 4 * size.value : size.value / 2;
    const move = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[event.key];
    if (move) {
      cursor.x = Math.min(over.width, Math.max(0, cursor.x + +move[0]));
      cursor.y = Math.min(over.height, Math.max(0, cursor.y + +move[1]));
      note.textContent = t("paint.at", { x: Math.round(cursor.x), y: Math.round(cursor.y) });
    } else if (event.key === " ") { remember(); dab(cursor.x, cursor.y); send(); } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) back_();
    else return;
    event.preventDefault();
  });

  function back_() {
    const before = undo.pop();
    if (!before) return;
    ink.putImageData(before, 0, 0);
    send();
  }

  const note = el("p.soft.small", { "aria-live": "polite" }, t("paint.keys"));
  const five = [...new Set([0, 1, 2, 3, 4].map((n) => Math.round((n * (project.frames - 1)) / 4)))];
  const images = five.map((n) => {
    const img = el("img", { alt: t("frame.of", { n, name: project.name }) });
    img.style.aspectRatio = `${project.width} / ${project.height}`;
    const node = el("figure.live", {}, img, el("figcaption", {}, `${t("frame")} ${n}`));
    const ask = frames(project, (url) => { img.src = url; node.dataset.shown = +(node.dataset.shown ?? 0) + 1; }, (is) => node.classList.toggle("waiting", is));
    return { n, node, ask };
  });

  const send = later(async () => {
    const name = state.layer;
    const g = ink;
    const data = g.getImageData(0, 0, over.width, over.height);
    const empty = !data.data.some((v, i) => i % 4 === 3 && v);
    state.overlays[name] = data;
    if (empty) delete state.sent[name];
    else {
      const blob = await new Promise((done) => over.toBlob(done, "image/png"));
      const response = await fetch(`/api/projects/${project.id}/paint/${name}`, { method: "POST", body: blob, headers: { "content-type": "image/png" } });
      const answer = await response.json();
      if (!response.ok) return say(answer.error.message);
      state.sent[name] = answer.paint;
    }
    show();
  }, 200);

  const look = () => (Object.keys(state.sent).length ? { mode: mode.value, paint: state.sent } : { mode: "clip" });
  function show() { for (const p of images) p.ask({ frame: p.n, width: 640, ...look() }); }

  const file = el("input", { type: "file", accept: "image/png,image/webp,image/jpeg", onchange: async () => {
    if (!file.files[0]) return;
    try {
      const img = await createImageBitmap(file.files[0]);
      remember();
      ink.drawImage(img, 0, 0);
      send();
    } catch { say(t("paint.unreadable")); }
  } });
  const clear = () => { remember(); ink.clearRect(0, 0, over.width, over.height); send(); };
  load();
  show();
  const node = el("div", {},
    el(".columns", {},
      el("div", {}, paper, note),
      el("div", {}, field(t("layer"), layer), field(t("tool"), tool), field(t("colour"), shade),
        field(t("size"), size, (v) => `${v} px`), field(t("opacity"), strength, (v) => `${Math.round(100 * v)} %`),
        field(t("words"), words), field(t("paint.load"), file),
        el(".tools", {}, el("button", { type: "button", onclick: back_ }, t("undo")), el("button", { type: "button", onclick: clear }, t("clear"))))),
    el("h3", {}, t("paint.five")), field(t("look"), mode), el(".strip", {}, images.map((p) => p.node)),
    exporter(project, look));
  words.parentNode.hidden = true;
  return node;
}
