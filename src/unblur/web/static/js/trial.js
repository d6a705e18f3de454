// Blur on purpose: what a model makes of one's own sharp clip, in figures.

import * as api from "./api.js";
import { clipPage, heading, orders, partOf, results } from "./clip.js";
import { canvasFont, choice, colour, el, field, fitted, range, redrawn } from "./dom.js";
import * as jobs from "./jobs.js";
import { scrub } from "./scrub.js";
import { settings } from "./settings.js";
import { number, t } from "./texts.js";
import { timeline } from "./timeline.js";
import { viewer } from "./viewer.js";

const MOST = 48;

/** The page; `id` is a clip's. */
export const trial = (root, id) => clipPage(root, "trial", id, work, el("p", {}, t("trial.about")));

function work(root, clip) {
  const image = scrub(clip);
  const line = timeline(clip, { onframe: image.show });
  line.part(0, Math.min(MOST, clip.frames ?? MOST));
  const form = settings({ files: false });
  form.interlaced(clip.interlaced);
  const exposure = range(0.05, 1, 0.05, 0.75);
  const shake = range(0, 20, 0.5, 4);
  const radius = range(0.5, 16, 0.5, 4);
  const pull = choice(["near", "far", "near-far", "far-near"].map((k) => [k, t(`pull.${k}`)]), "near");
  const motion = el("div", {}, field(t("exposure"), exposure, (v) => number(v, 2)), field(t("shake"), shake, (v) => `${number(v, 1)} px`));
  const focus = el("div", { hidden: true }, field(t("radius"), radius, (v) => `${number(v, 1)} px`), field(t("pull"), pull));
  const kind = choice([["motion", t("blur.motion")], ["focus", t("blur.focal")]], "motion", (v) => {
    motion.hidden = v !== "motion";
    focus.hidden = v !== "focus";
  });
  const { order, error } = orders(clip);
  const result = el("div", {}, el("p.soft", {}, t("result.none")));
  const mine = (job) => job.source === clip.id && job.kind === "trial";

  function keys() {
    const [first, last] = pull.value.split("-");
    const end = (line.state.end - line.state.start - 1) / (clip.rate || 25);
    return last ? [`${first}@0s`, `${last}@${end.toFixed(3)}s`] : [first];
  }

  const run = el("button.primary.start", {
    type: "button",
    onclick: () => {
      const blur = kind.value === "motion"
        ? { blur: "motion", exposure: +exposure.value, shake: +shake.value }
        : { blur: "focus", radius: +radius.value, focus: keys() };
      order({ kind: "trial", ...partOf(clip, line.state), ...blur, ...form.value().plain });
    },
  }, t("trial.run"));

  async function show(job) {
    const scores = (await api.get(api.fileOf(job, "scores.json"))).frames;
    const note = el("p.scores", { "aria-live": "off" });
    const chart = el("canvas.chart", { role: "img", "aria-label": t("trial.chart") });
    let at = 0;
    const draw = () => graph(chart, scores, at);
    redrawn(chart, draw);
    const say_ = (n) => {
      at = n;
      const s = scores[Math.min(n, scores.length - 1)];
      const db = (x) => `${number(x.psnr, 2)} dB` + (x.ssim == null ? "" : ` · SSIM ${number(x.ssim, 3)}`);
      note.replaceChildren(el("span", {}, `${t("ab.blurred")}: ${db(s.blurred)}`), " → ", el("b", {}, `${t("ab.after")}: ${db(s.restored)}`));
      draw();
    };
    const url = (role) => api.fileOf(job, job.files.find((f) => f.role === role).name);
    const f = job.facts;
    result.replaceChildren(
      el("h2", {}, t("trial.result"), " ", el("span.soft.small", {}, f.model)),
      el("p", {}, t("trial.mean", { before: number(f.psnr_blurred, 2), after: number(f.psnr_restored, 2), gain: number(f.psnr_restored - f.psnr_blurred, 2) })),
      viewer({
        sources: [
          { key: "before", label: t("ab.blurred"), url: url("before") },
          { key: "after", label: t("ab.after"), url: url("after") },
          { key: "sharp", label: t("ab.truth"), url: url("sharp") },
        ],
        rate: f.rate, frames: f.frames, onframe: say_,
      }),
      note, chart,
      el("ul.legend", {}, el("li", {}, el("i.c-motion"), t("ab.blurred")), el("li", {}, el("i.c-sharp"), t("ab.after"))),
      el(".tools", {}, jobs.downloads(job),
        el("button", {
          type: "button",
          onclick: async () => {
            const made = await api.post("/api/clips/job", { job: job.id, file: job.files.find((x) => x.role === "result").name });
            location.hash = `#restore/${made.id}`;
          },
        }, t("trial.take"))));
  }

  root.replaceChildren(
    el(".columns", {},
      el("section.card", {}, heading(clip), image.node, line.node),
      el("section.card", {}, el("h2", {}, t("trial.blur")), field(t("trial.kind"), kind), motion, focus,
        el("h2", {}, t("settings")), form.node, el(".tools", {}, run), error,
        jobs.boxes((job) => mine(job) && job.state !== "done"))),
    results(result, mine, show));
  image.show(0);
}

/** PSNR over the frames, of what was blurred and of what was restored. */
function graph(canvas, scores, at) {
  const fit = fitted(canvas);
  if (!fit) return;
  const { g, width, height } = fit;
  const all = scores.flatMap((s) => [s.blurred.psnr, s.restored.psnr]);
  const low = Math.floor(Math.min(...all) - 0.5);
  const high = Math.ceil(Math.max(...all) + 0.5);
  const left = 4 * parseFloat(canvasFont());
  const x = (n) => left + ((n + 0.5) / scores.length) * (width - left - 8);
  const y = (v) => height - 10 - ((v - low) / (high - low)) * (height - 24);
  g.font = canvasFont();
  g.fillStyle = colour("--soft");
  g.strokeStyle = colour("--line");
  for (const v of [low, (low + high) / 2, high]) {
    g.beginPath(); g.moveTo(left, y(v)); g.lineTo(width, y(v)); g.stroke();
    g.fillText(`${number(v, 1)}`, 4, y(v) + 4);
  }
  for (const [name, shade] of [["blurred", "--motion"], ["restored", "--sharp"]]) {
    g.strokeStyle = colour(shade);
    g.lineWidth = 2;
    g.beginPath();
    scores.forEach((s, n) => g[n ? "lineTo" : "moveTo"](x(n), y(s[name].psnr)));
    if (scores.length === 1) g.lineTo(x(0) + 4, y(scores[0][name].psnr));
    g.stroke();
  }
  g.fillStyle = colour("--ink");
  g.fillRect(x(at) - 1, 0, 2, height);
}
