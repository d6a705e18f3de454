// All jobs, and what they made.

import { el } from "./dom.js";
import * as jobs from "./jobs.js";
import { server } from "./picker.js";
import { duration, t } from "./texts.js";

const PLACES = { restore: "restore", preview: "restore", analyze: "restore", trial: "trial", fit: "atlas", export: "atlas", flow: "atlas" };

export async function queue(root) {
  const open = (job) => {
    location.hash = job.kind === "fit" ? `#atlas/job-${job.id}` : `#${PLACES[job.kind] ?? "restore"}/${job.source}`;
  };
  const node = jobs.boxes((job) => job.kind !== "estimate", { open });
  const none = el("p.soft", {}, t("jobs.none"));
  jobs.follow(none, (all) => { none.hidden = all.some((job) => job.kind !== "estimate"); });
  root.append(el("section.card", {}, el("h2", {}, t("tab.jobs")), none, node));
  const { limits } = await server();
  root.append(el("p.soft.small", {}, t("jobs.limits", { days: limits.days, hours: duration(limits.seconds), queued: limits.queued }),
    " ", el("a", { href: "/api/openapi.json" }, "OpenAPI")));
}
