// What the server's jobs do, requested as long as any of them lives.

import * as api from "./api.js";
import { el, say } from "./dom.js";
import { duration, has, number, t } from "./texts.js";

export const LIVING = ["queued", "running"];
export let list = [];
const listeners = new Set();
let timer = 0;

/** Calls back with all jobs, now and at each change, until the node has left the page. */
export function follow(node, callback) {
  const entry = { node, callback, was: false };
  listeners.add(entry);
  callback(list);
}

export async function refresh() {
  clearTimeout(timer);
  try {
    list = await api.get("/api/jobs");
    document.body.classList.remove("offline");
    for (const entry of [...listeners]) {
      if (entry.node.isConnected) entry.was = true;
      else if (entry.was) { listeners.delete(entry); continue; }
      entry.callback(list);
    }
  } catch (error) {
    if (!document.body.classList.contains("offline")) say(t("offline"), true);
    document.body.classList.add("offline");
  }
  const lively = list.some((job) => LIVING.includes(job.state));
  timer = setTimeout(refresh, document.hidden ? 5000 : lively ? 600 : 4000);
}

export async function submit(request) {
  const job = await api.post("/api/jobs", request);
  await refresh();
  return job;
}

/** Waits until a job has ended. */
export function ended(id) {
  return new Promise((resolve) => {
    const entry = {
      node: document.body,
      was: true,
      callback: (all) => {
        const job = all.find((j) => j.id === id);
        if (job && LIVING.includes(job.state)) return;
        listeners.delete(entry);
        resolve(job ?? null);
      },
    };
    listeners.add(entry);
  });
}

const act = (path) => async () => {
  try { await api.post(path); } catch (error) { say(error.message); }
  refresh();
};

export const title = (job) => `${t(`kind.${job.kind}`)}: ${job.name}`;

/** A job as a box: one bar, what there is to say, and what can be done. */
export function box(job, { open } = {}) {
  const p = job.progress;
  const living = LIVING.includes(job.state);
  const facts = [];
  if (job.state === "running") {
    facts.push(has(`stage.${p.stage}`) ? t(`stage.${p.stage}`) : p.stage ?? t("stage.starting"));
    if (p.share != null) facts.push(`${number(100 * p.share)} %`);
    if (p.total) facts.push(t("of", { done: p.done, total: p.total }));
    if (p.left != null) facts.push(t("left", { time: duration(p.left) }));
    if (job.plan.model && job.plan.model !== "none") facts.push(`${job.plan.model}, ${job.plan.device}`);
  }
  if (job.state === "done" && job.facts.seconds) facts.push(duration(job.ended - job.started));
  if (job.state === "done" && job.facts.model) facts.push(job.facts.model);
  const bar = el("progress", { max: 1, "aria-label": title(job) });
  if (job.state === "queued") bar.value = 0;
  else if (p.share != null) bar.value = p.share;
  const doing = [];
  if (open && job.state === "done") doing.push(el("button", { type: "button", onclick: () => open(job) }, t("open")));
  if (living) doing.push(el("button.cancel", { type: "button", onclick: act(`/api/jobs/${job.id}/cancel`) }, t("cancel")));
  if (["failed", "cancelled"].includes(job.state)) {
    doing.push(el("button", { type: "button", onclick: act(`/api/jobs/${job.id}/again`) }, t("again")));
  }
  if (!living) {
    doing.push(el("button", {
      type: "button",
      "aria-label": t("delete.what", { what: title(job) }),
      onclick: async () => {
        try { await api.remove(`/api/jobs/${job.id}`); } catch (error) { say(error.message); }
        refresh();
      },
    }, t("delete")));
  }
  return el(".job", { "data-job": job.id, "data-state": job.state },
    el(".head", {}, el("b", {}, title(job)), el(`span.state.${job.state}`, {}, t(`state.${job.state}`))),
    living ? bar : null,
    facts.length ? el(".soft.small", {}, facts.join(" · ")) : null,
    job.error ? el(".bad", { role: "alert" }, job.error.message) : null,
    ...job.warnings.map((text) => el(".soft.small", {}, text)),
    el(".tools", {}, doing));
}

/** Boxes of some jobs, kept up to date; those that did not change stay as they are. */
export function boxes(wanted, options = {}) {
  const node = el("div", { "aria-live": "off" });
  let before = "";
  follow(node, (all) => {
    const some = all.filter(wanted);
    const now = JSON.stringify(some);
    if (now === before) return;
    before = now;
    const held = document.activeElement?.closest?.("[data-job]");
    const id = held && node.contains(held) ? held.dataset.job : null;
    node.replaceChildren(...some.map((job) => box(job, options)));
    if (id) node.querySelector(`[data-job="${id}"] button`)?.focus({ preventScroll: true });
  });
  return node;
}

/** Links to what a job made. */
export function downloads(job) {
  const roles = ["result", "image", "mask", "page", "report", "scores"];
  return job.files.filter((f) => roles.includes(f.role)).map((f) =>
    el("a.button", { href: `${api.fileOf(job, f.name)}?download=true`, download: "" }, t(`role.${f.role}`), " ",
      el("span.soft.small", {}, f.name)));
}
