// A frame of a clip that follows the timeline.

import { el, latest } from "./dom.js";
import { clock, t } from "./texts.js";

/** An image of a clip's frame; show(n) changes it. */
export function scrub(clip) {
  const img = el("img.shot", { alt: "" });
  const note = el("figcaption");
  const width = () => {
    const wanted = Math.max(320, (img.clientWidth || 640) * (window.devicePixelRatio || 1));
    return Math.min(clip.width, 8192, Math.ceil(wanted / 320) * 320);
  };
  const load = latest((n) => new Promise((done) => {
    img.onload = img.onerror = done;
    img.src = `/api/clips/${clip.id}/frames/${n}?width=${Math.max(16, width())}`;
    img.alt = t("frame.of", { n, name: clip.name });
    note.textContent = `${t("frame")} ${n}` + (clip.rate ? ` · ${clock(n / clip.rate)}` : "");
  }));
  img.style.aspectRatio = `${clip.width} / ${clip.height}`;
  return { node: el("figure", {}, img, note), show: load };
}
