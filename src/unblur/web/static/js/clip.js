// What pages about one clip share: choosing it, ordering work on it, the newest result.

import * as api from "./api.js";
import { el, say } from "./dom.js";
import * as jobs from "./jobs.js";
import { facts, picker } from "./picker.js";

/** A page about a clip: `work(node, clip)` fills it once one is chosen. `place` is the page's name. */
export async function clipPage(root, place, id, work, ...about) {
  const chosen = el("div");
  root.append(...about, picker("clip", (clip) => { location.hash = `#${place}/${clip.id}`; }, !id), chosen);
  if (!id) return;
  let clip;
  try { clip = await api.get(`/api/sources/${id}`); } catch (e) { return say(e.message); }
  work(chosen, clip);
}

export const heading = (clip) => el("h2", {}, clip.name, " ", el("span.soft.small", {}, facts(clip)));

/** The part that is chosen on a timeline, as requests have it: null is the clip's own beginning or end. */
export function partOf(clip, { start, end }) {
  return { start: start > 0 ? `f${start}` : null, end: clip.frames && end < clip.frames ? `f${end}` : null };
}

/** `order(request)` queues a job of the clip; what is wrong with it appears in `error`. Gives the job or null. */
export function orders(clip) {
  const error = el("p.bad", { role: "alert", hidden: true });
  async function order(request) {
    error.hidden = true;
    try { return await jobs.submit({ clip: clip.id, ...request }); } catch (e) {
      error.textContent = e.message;
      error.hidden = false;
      return null;
    }
  }
  return { order, error };
}

/** A card of results: the newest is shown when it is done, others when they are opened. */
export function results(node, mine, fill) {
  let open = null;
  const show = (job) => {
    if (open === job.id) return;
    open = job.id;
    fill(job);
  };
  let last = null;
  jobs.follow(node, (all) => {
    const done = all.find((job) => mine(job) && job.state === "done");
    if (done && done.id !== last) { last = done.id; show(done); }
  });
  const reopen = (job) => { open = null; show(job); node.scrollIntoView({ behavior: "smooth" }); };
  return el("section.card", {}, node, jobs.boxes((job) => mine(job) && job.state === "done", { open: reopen }));
}
