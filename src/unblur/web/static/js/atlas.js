// A shot as sharp layers: to be looked at, painted on, refocused, measured.

import * as api from "./api.js";
import { heading, orders, partOf } from "./clip.js";
import { choice, el, field, latest, range, say } from "./dom.js";
import { focus } from "./focus.js";
import * as jobs from "./jobs.js";
import { paint } from "./paint.js";
import { facts, picker } from "./picker.js";
import { scrub } from "./scrub.js";
import { clock, number, t } from "./texts.js";
import { timeline } from "./timeline.js";
import { viewer } from "./viewer.js";

/** The page; `id` is a project's, a clip's to be taken apart, or `job-` and a fit's. */
export async function atlas(root, id) {
  const chosen = el("div");
  const go = (source) => { location.hash = `#atlas/${source.id}`; };
  root.append(el("p", {}, t("atlas.about")), el(".columns", {}, picker("project", go, !id), picker("clip", go, !id)), chosen);
  if (!id) {
    chosen.append(jobs.boxes((job) => job.kind === "fit", { open: openFit }));
    return;
  }
  try {
    if (id.startsWith("job-")) {
      const made = await api.post("/api/projects/job", { job: id.slice(4), file: "project" });
      location.replace(`#atlas/${made.id}`);
      return;
    }
    const source = await api.get(`/api/sources/${id}`);
    if (source.kind === "project") edit(chosen, source);
    else takeApart(chosen, source);
  } catch (e) { say(e.message); }
}

const openFit = (job) => { location.hash = `#atlas/job-${job.id}`; };

function takeApart(root, clip) {
  const image = scrub(clip);
  const line = timeline(clip, { onframe: image.show });
  const layers = range(1, 6, 1, 2);
  const minutes = el("input", { type: "number", min: 1, max: 1440, value: 10 });
  const preset = choice([["cpu", t("preset.cpu")], ["fast", t("preset.fast")]], "cpu");
  const { order, error } = orders(clip);
  const fit = el("button.primary.start", {
    type: "button",
    onclick: () => order({
      kind: "fit", layers: +layers.value, preset: preset.value,
      minutes: minutes.value ? +minutes.value : null, ...partOf(clip, line.state),
    }),
  }, t("fit"));
  root.replaceChildren(el(".columns", {},
    el("section.card", {}, heading(clip), image.node, line.node),
    el("section.card", {}, el("h2", {}, t("fit.title")), el("p.soft.small", {}, t("fit.about")),
      field(t("fit.layers"), layers, (v) => v), field(t("fit.minutes"), minutes), field(t("fit.preset"), preset),
      el(".tools", {}, fit), error,
      jobs.boxes((job) => job.kind === "fit" && job.source === clip.id, { open: openFit }))));
  image.show(0);
}

/** Asks for frames of a project, the newest wish first; `show(url)` gets the image. */
export function frames(project, show, waiting) {
  let last = null;
  return latest(async (look) => {
    waiting?.(true);
    try {
      const made = await api.image(`/api/projects/${project.id}/image`, look);
      show(made.url);
      if (last) URL.revokeObjectURL(last);
      last = made.url;
      say("");
    } catch (e) { if (e.name !== "AbortError") say(e.message); } finally { waiting?.(false); }
  });
}

/** A slider over the frames of a project. */
export function placeOf(project, oninput) {
  const slider = range(0, project.frames - 1, 1, 0, () => oninput(+slider.value));
  return { slider, node: field(t("frame"), slider, (n) => `${n} · ${clock(project.times[n])}`) };
}

/** An image that requests another when `show` is called. */
export function live(project) {
  const img = el("img.shot", { alt: t("atlas.frame") });
  img.style.aspectRatio = `${project.width} / ${project.height}`;
  const node = el("figure.live", {}, img);
  const ask = frames(project, (url) => { img.src = url; node.dataset.shown = +(node.dataset.shown ?? 0) + 1; }, (is) => node.classList.toggle("waiting", is));
  return { img, node, ask };
}

/** A button that renders a whole video. */
export function exporter(project, look) {
  const container = choice(["mp4", "mov", "mkv", "webm"].map((c) => [c, c]), "mp4");
  container.setAttribute("aria-label", t("container"));
  return el(".tools", {}, el("button.primary.export", {
    type: "button",
    onclick: async () => {
      try { await jobs.submit({ kind: "export", project: project.id, container: container.value, ...look() }); } catch (e) { say(e.message); }
    },
  }, t("export")), container);
}

function edit(root, project) {
  const tabs = { layers, paint, focus, flow };
  const body = el("div");
  const buttons = Object.keys(tabs).map((name) => el("button", {
    type: "button", role: "tab", "data-tab": name, onclick: () => open(name),
  }, t(`atlas.${name}`)));
  const built = {};
  function open(name) {
    buttons.forEach((b) => b.setAttribute("aria-selected", b.dataset.tab === name));
    buttons.forEach((b) => b.setAttribute("aria-pressed", b.dataset.tab === name));
    built[name] ??= tabs[name](project);
    body.replaceChildren(built[name]);
  }
  const result = el("div");
  const mine = (job) => job.source === project.id && ["export", "flow"].includes(job.kind);
  const show = (job) => {
    if (job.kind === "flow") return result.replaceChildren(el(".tools", {}, jobs.downloads(job)));
    const url = (role) => api.fileOf(job, job.files.find((f) => f.role === role).name);
    result.replaceChildren(viewer({
      sources: [
        { key: "before", label: t("ab.clip"), url: url("before") },
        { key: "after", label: t("ab.export"), url: url("after") },
      ],
      rate: job.facts.rate, frames: job.facts.frames,
    }), el(".tools", {}, jobs.downloads(job)));
  };
  root.replaceChildren(el("section.card", {},
    el("h2", {}, project.name, " ", el("span.soft.small", {}, facts({ ...project, codec: null }))),
    el(".tools", { role: "tablist" }, buttons), body),
  el("section.card", {}, el("h2", {}, t("atlas.results")), result, jobs.boxes(mine, { open: show })));
  open("layers");
}

function layers(project) {
  const shot = live(project);
  const names = project.layers.map((l) => [l.name, l.name]);
  const layer = choice(names, names[0][0], () => show());
  const modes = ["sharp", "clip", "reblurred", "layer", "alpha"];
  const mode = choice(modes.map((m) => [m, t(`look.${m}`)]), "sharp", () => show());
  const place = placeOf(project, () => show());
  const look = () => ({ mode: mode.value, layer: ["layer", "alpha"].includes(mode.value) ? layer.value : null });
  function show() {
    shot.ask({ frame: +place.slider.value, ...look() });
    layer.disabled = !["layer", "alpha"].includes(mode.value);
  }
  show();
  return el("div", {}, shot.node, place.node,
    el(".row", {}, field(t("look"), mode), field(t("layer"), layer)),
    exporter(project, () => look()),
    el("h3", {}, t("atlas.atlases")),
    el(".atlases", {}, project.layers.map((l) => el("figure", {},
      el("img", { src: `/api/projects/${project.id}/atlases/${l.name}`, alt: t("atlas.of", { name: l.name }), loading: "lazy" }),
      el("figcaption", {}, `${l.name} · ${l.width}×${l.height}`)))));
}

function flow(project) {
  const img = el("img.shot", { alt: t("flow.image") });
  img.style.aspectRatio = `${project.width} / ${project.height}`;
  const note = el("p.soft", { "aria-live": "polite" });
  const last = Math.min(project.frames - 1, 5);
  const from = range(0, project.frames - 1, 1, 0, () => show());
  const to = range(0, project.frames - 1, 1, last, () => show());
  const node = el("figure.live", {}, img);
  const show = latest(async () => {
    node.classList.add("waiting");
    try {
      const made = await api.image(`/api/projects/${project.id}/flow?first=${from.value}&last=${to.value}`);
      img.src = made.url;
      node.dataset.shown = +(node.dataset.shown ?? 0) + 1;
      note.textContent = t("flow.note", {
        longest: number(made.headers.get("x-longest"), 1), valid: number(100 * made.headers.get("x-valid")),
      });
    } catch (e) { say(e.message); } finally { node.classList.remove("waiting"); }
  });
  show();
  const wheel = el("img", { src: "wheel.svg", alt: t("flow.wheel"), width: 110, height: 110 });
  return el("div", {}, node, el(".row", {}, wheel, note),
    field(t("flow.from"), from, (v) => v), field(t("flow.to"), to, (v) => v),
    el(".tools", {}, el("button.primary.export", {
      type: "button",
      onclick: async () => {
        try { await jobs.submit({ kind: "flow", project: project.id, first: +from.value, last: +to.value }); } catch (e) { say(e.message); }
      },
    }, t("flow.export"))));
}

