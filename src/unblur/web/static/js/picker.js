// Choosing a clip or a project: dropped, from the operator's folders, or one that is known.

import * as api from "./api.js";
import { el, say } from "./dom.js";
import { bytes, number, t } from "./texts.js";

let about = null;
export const server = async () => (about ??= await api.get("/api/about"));

/** What there is to know of a clip, in a line. */
export function facts(clip) {
  const parts = [`${clip.width}×${clip.height}`];
  if (clip.frames) parts.push(t("frames", { n: clip.frames }));
  if (clip.rate) parts.push(t("rate", { n: number(clip.rate, clip.rate % 1 ? 2 : 0) }));
  if (clip.codec) parts.push(clip.codec);
  if (clip.interlaced) parts.push(t("interlaced"));
  if (clip.hdr) parts.push("HDR");
  return parts.join(" · ");
}

/**
 * A box to choose from. kind: "clip" or "project"; onchoose(source).
 * Only clips can be uploaded.
 */
export function picker(kind, onchoose, open = true) {
  const known = el("ul.list");
  const folders = el(".folders");
  const bar = el("progress", { max: 1, value: 0, hidden: true, "aria-label": t("upload") });
  const error = el("p.bad", { role: "alert", hidden: true });
  const stop = el("button.stop", { type: "button", hidden: true }, t("cancel"));

  function fail(message) {
    error.textContent = message;
    error.hidden = !message;
  }

  async function send(file) {
    fail("");
    const { limits } = await server();
    if (file.size > limits.upload) return fail(t("upload.large", { size: bytes(file.size), limit: bytes(limits.upload) }));
    bar.hidden = stop.hidden = false;
    bar.removeAttribute("value");
    const sending = api.upload(file, (share) => {
      bar.value = share;
      if (share === 1) bar.removeAttribute("value"); // it is being looked at
    });
    stop.onclick = sending.stop;
    try { onchoose(await sending.done); list(); } catch (e) {
      if (e.status !== -1) fail(e.message || t("upload.broken"));
    } finally { bar.hidden = stop.hidden = true; }
  }

  async function list() {
    const all = (await api.get("/api/sources")).filter((s) => s.kind === kind);
    known.replaceChildren(...all.map((source) => el("li", {},
      el("button", { type: "button", onclick: () => onchoose(source) }, source.name, " ", el("span.soft.small", {}, facts(source))),
      el("button", {
        type: "button", "aria-label": t("delete.what", { what: source.name }),
        onclick: async () => {
          try { await api.remove(`/api/sources/${source.id}`); } catch (e) { say(e.message); }
          list();
        },
      }, "✕"))));
  }

  async function browse(number_, path) {
    fail("");
    let found;
    try { found = await api.get(`/api/folders/${number_}?path=${encodeURIComponent(path)}`); } catch (e) { return fail(e.message); }
    const { folders: names } = await server();
    const up = path ? el("li", {}, el("button", { type: "button", onclick: () => browse(number_, path.split("/").slice(0, -1).join("/")) }, "↑ ..")) : null;
    const rows = found.entries.filter((e) => e.kind === "folder" || e.kind === kind).map((entry) =>
      el("li", {}, el("button", {
        type: "button",
        onclick: async () => {
          if (entry.kind === "folder") return browse(number_, entry.path);
          say(t("looking"));
          try {
            onchoose(await api.post(`/api/${kind}s/folder`, { folder: number_, path: entry.path }));
            list();
            say("");
          } catch (e) { fail(e.message); }
        },
      }, `${entry.name}${entry.kind === "folder" ? "/" : ""}`, " ", entry.bytes ? el("span.soft.small", {}, bytes(entry.bytes)) : null)));
    folders.replaceChildren(el("h3", {}, [names[number_], path].filter(Boolean).join("/")), el("ul.list", {}, up, rows),
      rows.length ? null : el("p.soft", {}, t("folder.empty")));
  }

  const input = el("input", { type: "file", accept: "video/*,.mkv,.mxf,.mts,.m2ts", onchange: () => input.files[0] && send(input.files[0]) });
  const drop = kind !== "clip" ? null : el("label.drop", {},
    el("span", {}, t("drop")), el("span.button", {}, t("drop.choose")), input, bar, stop);
  if (drop) {
    drop.addEventListener("dragover", (e) => { e.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (e) => {
      e.preventDefault();
      drop.classList.remove("over");
      if (e.dataTransfer.files[0]) send(e.dataTransfer.files[0]);
    });
  }
  list();
  server().then(({ folders: names }) => {
    folders.replaceChildren(...names.map((name, n) => el("button", { type: "button", onclick: () => browse(n, "") }, `${name}/`)));
  });
  return el("section.card", {}, el("details", { open }, el("summary", {}, el("h2", {}, t(`pick.${kind}`))), drop, error, folders, known));
}
