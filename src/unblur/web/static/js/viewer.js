// Two clips over each other with a slider between them, played in step, at any size.

import { choice, el, range } from "./dom.js";
import { clock, t } from "./texts.js";

const ZOOMS = ["fit", "1", "2", "4", "8"];

/**
 * A viewer.
 * sources: [{key, label, url}], the first two are shown; rate: frames a second; frames: how many;
 * onframe(n): called as the frame changes.
 */
export function viewer({ sources, rate, frames, onframe }) {
  const step = 1 / (rate || 25);
  const make = (cls) => el(`video.${cls}`, { muted: true, playsInline: true, preload: "auto", loop: false });
  const a = make("a");
  const b = make("b");
  const tagA = el("span.ab-tag.a");
  const tagB = el("span.ab-tag.b");
  const line = el(".ab-line", {
    role: "slider", tabIndex: 0, "aria-label": t("ab.slider"),
    "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 50,
  });
  const stage = el(".ab-stage", {}, a, b, line, tagA, tagB);
  const frame = el(".ab-frame", {}, stage);
  const place = range(0, Math.max(0, frames - 1), 1, 0, () => seek(+place.value));
  place.setAttribute("aria-label", t("frame"));
  const note = el("span.soft.small");
  const play = el("button.play", { type: "button", onclick: () => (a.paused ? start() : stop()) }, "▶");
  play.setAttribute("aria-label", t("play"));
  const zoom = choice(ZOOMS.map((z) => [z, z === "fit" ? t("zoom.fit") : `${100 * z} %`]), "fit", () => size());
  zoom.setAttribute("aria-label", t("zoom"));
  const pick = (video, tag, n) => {
    const show = (key) => {
      const source = sources.find((s) => s.key === key) ?? sources[n];
      tag.textContent = source.label;
      const at = a.currentTime;
      video.src = source.url;
      video.addEventListener("loadeddata", () => { video.currentTime = at; size(); }, { once: true });
    };
    const select = choice(sources.map((s) => [s.key, s.label]), sources[n].key, show);
    select.setAttribute("aria-label", t(n ? "ab.right" : "ab.left"));
    show(sources[n].key);
    return select;
  };
  const selectA = pick(a, tagA, 0);
  const selectB = pick(b, tagB, 1);
  let at = 50;
  let zoomed = false;

  function split(percent) {
    at = Math.min(100, Math.max(0, percent));
    stage.style.setProperty("--at", `${at}%`);
    line.setAttribute("aria-valuenow", Math.round(at));
  }

  function size() {
    if (!a.videoWidth) return;
    const shown = frame.clientWidth;
    const by = window.devicePixelRatio || 1;
    zoomed = zoom.value !== "fit";
    const limit = Math.min(shown, a.videoWidth * Math.max(1, shown / a.videoWidth), 0.74 * innerHeight * a.videoWidth / a.videoHeight);
    const width = zoomed ? (a.videoWidth * zoom.value) / by : limit;
    stage.style.width = `${width}px`;
    stage.style.height = `${(width * a.videoHeight) / a.videoWidth}px`;
    stage.classList.toggle("crisp", zoomed && zoom.value >= 2);
  }

  function tell(n) {
    note.textContent = `${t("frame")} ${n} · ${clock(n * step)}`;
    onframe?.(n);
  }

  function seek(n) {
    stop();
    const time = (n + 0.5) * step;
    a.currentTime = time;
    b.currentTime = time;
    place.value = n;
    tell(n);
  }

  function start() {
    if (a.ended || +place.value >= frames - 1) { a.currentTime = 0; b.currentTime = 0; }
    b.currentTime = a.currentTime;
    Promise.all([a.play(), b.play()]).catch(() => {});
    play.textContent = "⏸";
    play.setAttribute("aria-label", t("pause"));
    requestAnimationFrame(tick);
  }

  function stop() {
    a.pause();
    b.pause();
    a.playbackRate = b.playbackRate = 1;
    play.textContent = "▶";
    play.setAttribute("aria-label", t("play"));
  }

  function tick() {
    if (a.paused) {
      if (a.ended) { stop(); place.value = frames - 1; tell(frames - 1); }
      return;
    }
    // Who is ahead waits: the other one may be as quick as the machine can.
    const off = (b.currentTime - a.currentTime) / step;
    const wait = Math.abs(off) > 2 ? 0.1 : Math.abs(off) > 0.6 ? 0.6 : 1;
    a.playbackRate = off < 0 ? wait : 1;
    b.playbackRate = off > 0 ? wait : 1;
    const n = Math.min(frames - 1, Math.floor(a.currentTime / step));
    if (+place.value !== n) { place.value = n; tell(n); }
    requestAnimationFrame(tick);
  }

  const toPercent = (event) => {
    const box = stage.getBoundingClientRect();
    return (100 * (event.clientX - box.left)) / box.width;
  };
  line.addEventListener("pointerdown", (event) => { line.setPointerCapture(event.pointerId); event.preventDefault(); line.focus(); });
  line.addEventListener("pointermove", (event) => { if (line.hasPointerCapture(event.pointerId)) split(toPercent(event)); });
  line.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
    if (by === undefined) return;
    split(at + by * (event.shiftKey ? 5 : 1));
    event.preventDefault();
    event.stopPropagation();
  });
  // Elsewhere: a drag pans where it is zoomed in, else it moves the line.
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.target === line) return;
    drag = { x: event.clientX, y: event.clientY, left: frame.scrollLeft, top: frame.scrollTop };
    stage.setPointerCapture(event.pointerId);
    if (!zoomed) split(toPercent(event));
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag || !stage.hasPointerCapture(event.pointerId)) return;
    if (zoomed) frame.scrollTo(drag.left + drag.x - event.clientX, drag.top + drag.y - event.clientY);
    else split(toPercent(event));
  });
  stage.addEventListener("pointerup", () => { drag = null; });
  const steps = (by) => seek(Math.min(frames - 1, Math.max(0, +place.value + by)));
  const button = (text, label, onclick) => el("button", { type: "button", onclick, "aria-label": label, title: label }, text);
  const flip = button("A⇄B", t("ab.flip"), () => split(at < 50 ? 100 : 0));
  const root = el(".ab", { tabIndex: -1 }, frame,
    el(".tools", {}, play, button("‹", t("back"), () => steps(-1)), button("›", t("forward"), () => steps(1)), place, note),
    el(".tools", {}, sources.length > 2 ? [selectA, selectB] : [], flip, zoom, el("span.soft.small", {}, t("ab.keys"))));
  root.addEventListener("keydown", (event) => {
    if (["INPUT", "SELECT", "BUTTON"].includes(event.target.tagName) && event.key === " ") return;
    const act = { " ": () => (a.paused ? start() : stop()), ",": () => steps(-1), ".": () => steps(1), x: () => split(at < 50 ? 100 : 0) }[event.key];
    if (act) { act(); event.preventDefault(); }
  });
  new ResizeObserver(size).observe(frame);
  a.addEventListener("loadedmetadata", size);
  split(50);
  tell(0);
  return root;
}
