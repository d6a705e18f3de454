// A clip in, a sharp one out.

import * as api from "./api.js";
import { clipPage, heading, orders, partOf, results } from "./clip.js";
import { el, later } from "./dom.js";
import * as jobs from "./jobs.js";
import { scrub } from "./scrub.js";
import { settings } from "./settings.js";
import { bytes, duration, number, t } from "./texts.js";
import { timeline } from "./timeline.js";
import { viewer } from "./viewer.js";

/** The page; `id` is a clip's. */
export const restore = (root, id) => clipPage(root, "restore", id, work);

/** Frames from `start` to `end` by how their shots are blurred. */
function kindsOf(found, start, end) {
  const kinds = {};
  for (const shot of found.shots) {
    const many = Math.min(end, shot.stop) - Math.max(start, shot.start);
    if (many > 0) kinds[shot.kind] = (kinds[shot.kind] ?? 0) + many;
  }
  return Object.keys(kinds).length ? kinds : null;
}

function work(root, clip) {
  const image = scrub(clip);
  const line = timeline(clip, { onframe: image.show, onpart: () => reckon() });
  const summary = el("p", { "aria-live": "polite" }, t("analysis.waits"));
  const cost = el("p.soft.cost", { "aria-live": "polite" });
  const form = settings({ onchange: () => reckon() });
  form.interlaced(clip.interlaced);
  const result = el("div", {}, el("p.soft", {}, t("result.none")));
  const { order, error } = orders(clip);
  const part = () => partOf(clip, line.state);

  async function ask(request) {
    for (const job of jobs.list) { // no one waits for an estimate any more
      if (job.kind === "estimate" && job.source === clip.id && jobs.LIVING.includes(job.state)) await api.post(`/api/jobs/${job.id}/cancel`).catch(() => {});
    }
    return order(request);
  }

  // What it would cost, measured anew when something changed that matters. The bar of jobs does not
  // show these.
  const known = new Map();
  let latestTurn = 0;
  const reckon = later(async () => {
    if (!line.state.found) return; // the analysis goes first
    const { model, quality, strength, deinterlace } = form.value().plain;
    const { start, end } = line.state;
    // Left to unblur, each shot has the model that the analysis calls for.
    const kinds = model === "auto" ? kindsOf(line.state.found, start, end) : null;
    const key = [model, quality, strength > 0, JSON.stringify(kinds)].join();
    const turn = ++latestTurn;
    if (!known.has(key)) {
      cost.textContent = t("cost.waits");
      let job;
      try { job = await jobs.submit({ kind: "estimate", clip: clip.id, ...part(), model, quality, strength, deinterlace, kinds }); } catch (e) {
        cost.textContent = e.message;
        return;
      }
      const done = await jobs.ended(job.id);
      if (!done) return;
      if (done.state !== "done") { if (turn === latestTurn) cost.textContent = done.error?.message ?? ""; return; }
      known.set(key, done.facts);
      api.remove(`/api/jobs/${job.id}`).catch(() => {});
    }
    if (turn !== latestTurn) return;
    const f = known.get(key);
    const seconds = f.frames ? (f.seconds / f.frames) * (end - start) : 0;
    cost.textContent = t("cost", { model: f.model, device: f.device, time: duration(seconds), memory: bytes(f.memory) });
  }, 500);

  async function look() {
    const mine = (job) => job.kind === "analyze" && job.source === clip.id && job.state !== "cancelled" && !job.request.start && !job.request.end;
    let job = jobs.list.find(mine);
    if (!job) job = await ask({ kind: "analyze", estimate: false });
    const done = job && (await jobs.ended(job.id));
    if (done?.state !== "done") {
      summary.textContent = done?.error?.message ?? t("analysis.none");
      line.state.found = null;
      return;
    }
    const found = await api.get(api.fileOf(done, "analysis.json"));
    const blurred = found.frames.filter((f) => f.kind !== "sharp").length / found.frames.length;
    const noise = found.noise < 0.006 ? "little" : found.noise < 0.02 ? "some" : "strong";
    summary.replaceChildren(
      t(`found.${found.kind}`, { share: number(100 * blurred) }), " ",
      found.blockiness < 0.1 ? t("found.clean") : t("found.blocks"), " ", t(`noise.${noise}`), " ",
      found.shots.length > 1 ? t("found.shots", { n: found.shots.length }) : "", " ",
      el("a", { href: `${api.fileOf(done, "report.html")}?download=true`, download: "" }, t("found.report")));
    line.show(found);
    const model = found.shots.reduce((a, b) => (b.stop - b.start > a.stop - a.start ? b : a)).model;
    if (found.kind === "focus") form.suggest(model, t("suggest.focus"));
    if (found.kind === "sharp") form.suggest(null, null);
    reckon();
  }

  const preview = el("button.preview", {
    type: "button",
    onclick: () => ask({ kind: "preview", at: line.state.frame, ...form.value().plain }),
  }, t("preview"));
  const start = el("button.primary.start", {
    type: "button",
    onclick: () => ask({ kind: "restore", ...part(), ...form.value().plain, ...form.value().file }),
  }, t("restore"));
  const shown = ["restore", "preview"];
  const mine = (job) => job.source === clip.id && shown.includes(job.kind);

  function show(job) {
    const url = (role) => api.fileOf(job, job.files.find((f) => f.role === role).name);
    result.replaceChildren(
      el("h2", {}, t(`kind.${job.kind}`), " ", el("span.soft.small", {}, `${job.facts.model} · ${t("frames", { n: job.facts.frames })}`)),
      viewer({
        sources: [
          { key: "before", label: t("ab.before"), url: url("before") },
          { key: "after", label: t("ab.after"), url: url("after") },
        ],
        rate: job.facts.rate,
        frames: job.facts.frames,
      }),
      el(".tools", {}, jobs.downloads(job)));
  }

  root.replaceChildren(
    el(".columns", {},
      el("section.card", {}, heading(clip), image.node, line.node, summary),
      el("section.card", {}, el("h2", {}, t("settings")), form.node, cost,
        el(".tools", {}, preview, start), error,
        jobs.boxes((job) => mine(job) && job.state !== "done" || (job.kind === "analyze" && job.source === clip.id && jobs.LIVING.includes(job.state))))),
    results(result, mine, show));
  image.show(0);
  look();
}
