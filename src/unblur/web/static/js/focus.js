// Another focus: points are clicked, each at a time; the focus is pulled from key to key.

import * as api from "./api.js";
import { exporter, live, placeOf } from "./atlas.js";
import { choice, el, field, later, range, say } from "./dom.js";
import { clock, number, t } from "./texts.js";

export function focus(project) {
  const names = project.layers.map((l) => l.name);
  let keys = [{ frame: 0, what: names[0] }];
  let chosen = 0;
  const shot = live(project);
  const place = placeOf(project, () => { marks(); show(); });
  const strip = el(".keys", { role: "group", "aria-label": t("keys") });
  const aperture = range(0, 32, 0.5, 8, () => show());
  const bokeh = choice([["disk", t("bokeh.disk")], ["hexagon", t("bokeh.hexagon")]], "disk", () => show());
  const highlights = range(1, 20, 0.5, 1, () => show());
  const rim = choice([["", t("rim.auto")], ["1", t("rim.ring")], ["2", t("rim.soft")], ["8", t("rim.plain")]], "", () => show());
  const what = choice([...names.map((n) => [n, n]), ...[0, 0.25, 0.5, 0.75, 1].map((d) => [`${d}`, t("depth", { n: number(d, 2) })])], names[0], (v) => {
    keys[chosen].what = v;
    marks();
    show();
  });
  const note = el("p.soft.small", { "aria-live": "polite" }, t("focus.about"));

  const look = () => ({
    mode: "refocus",
    focus: [...keys].sort((a, b) => a.frame - b.frame).map((k) => `${k.what}@f${k.frame}`),
    aperture: +aperture.value,
    bokeh: bokeh.value,
    beta: rim.value ? +rim.value : null,
    highlights: +highlights.value,
  });
  function show() { shot.ask({ frame: +place.slider.value, ...look() }); }
  const soon = later(show, 120);

  const x = (frame) => `${(100 * (frame + 0.5)) / project.frames}%`;
  const put = (mark, frame) => { // within the strip, also at its ends
    mark.style.left = x(frame);
    mark.style.transform = `translateX(-${x(frame)})`;
  };

  function marks() {
    const now = el("i");
    now.style.left = x(+place.slider.value);
    const had = document.activeElement?.dataset?.key;
    strip.replaceChildren(now, ...keys.map((key, n) => {
      const mark = el("button.key", {
        type: "button", "data-key": n, "aria-pressed": `${n === chosen}`,
        "aria-label": t("key.at", { what: key.what, n: key.frame, time: clock(project.times[key.frame]) }),
        onclick: () => { chosen = n; what.value = key.what; place.slider.value = key.frame; place.slider.dispatchEvent(new Event("input")); },
      }, `◆ ${key.what}`);
      put(mark, key.frame);
      mark.addEventListener("keydown", (event) => {
        if (event.key === "Delete" || event.key === "Backspace") drop(n);
        else if (event.key === "ArrowLeft") move(n, key.frame - 1);
        else if (event.key === "ArrowRight") move(n, key.frame + 1);
        else return;
        event.preventDefault();
      });
      mark.addEventListener("pointerdown", (event) => { mark.setPointerCapture(event.pointerId); chosen = n; });
      mark.addEventListener("pointermove", (event) => {
        if (!mark.hasPointerCapture(event.pointerId)) return;
        const box = strip.getBoundingClientRect();
        const frame = Math.floor(((event.clientX - box.left) / box.width) * project.frames);
        if (frame !== key.frame && frame >= 0 && frame < project.frames && !keys.some((k) => k.frame === frame)) {
          key.frame = frame;
          put(mark, frame);
          soon();
        }
      });
      return mark;
    }));
    if (had !== undefined) strip.querySelector(`[data-key="${had}"]`)?.focus();
  }

  function move(n, frame) {
    if (frame < 0 || frame >= project.frames || keys.some((k) => k.frame === frame)) return;
    keys[n].frame = frame;
    chosen = n;
    marks();
    soon();
  }

  function drop(n) {
    if (keys.length === 1) return say(t("key.last"));
    keys = keys.filter((_, i) => i !== n);
    chosen = Math.max(0, Math.min(chosen, keys.length - 1));
    marks();
    show();
  }

  function add(whatever) {
    const frame = +place.slider.value;
    const there = keys.find((k) => k.frame === frame);
    if (there) there.what = whatever;
    else keys.push({ frame, what: whatever });
    chosen = keys.findIndex((k) => k.frame === frame);
    what.value = whatever;
    marks();
    show();
  }

  shot.img.addEventListener("click", async (event) => {
    const box = shot.img.getBoundingClientRect();
    const by = Math.min(box.width / project.width, box.height / project.height); // object-fit: contain
    const px = (event.clientX - box.left - (box.width - by * project.width) / 2) / by;
    const py = (event.clientY - box.top - (box.height - by * project.height) / 2) / by;
    if (px < 0 || py < 0 || px >= project.width || py >= project.height) return;
    try {
      const found = await api.get(`/api/projects/${project.id}/point?frame=${place.slider.value}&x=${px.toFixed(1)}&y=${py.toFixed(1)}`);
      note.textContent = t("focus.clicked", { layer: found.layer, n: place.slider.value });
      add(found.layer);
    } catch (e) { say(e.message); }
  });
  marks();
  show();
  return el("div", {}, shot.node, note, place.node, strip,
    el(".row", {}, field(t("key.what"), what),
      el("button", { type: "button", onclick: () => add(what.value) }, t("key.add")),
      el("button", { type: "button", onclick: () => drop(chosen) }, t("key.delete"))),
    field(t("aperture"), aperture, (v) => `${number(v, 1)} px`),
    field(t("highlights"), highlights, (v) => `× ${number(v, 1)}`),
    el(".row", {}, field(t("bokeh"), bokeh), field(t("rim"), rim)),
    exporter(project, look));
}
