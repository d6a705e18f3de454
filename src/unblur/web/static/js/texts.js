// Every word of the page comes from texts.json.

let texts = {};
export let language = "en";
export const languages = { en: "English", de: "Deutsch" };

/** Loads the words; the language is the one chosen, else the browser's, else English. */
export async function load() {
  const all = await (await fetch("texts.json")).json();
  let chosen = null;
  try { chosen = localStorage.getItem("language"); } catch { /* storage is shut */ }
  language = [chosen, ...navigator.languages.map((l) => l.slice(0, 2)), "en"].find((l) => l in all);
  texts = { ...all.en, ...all[language] };
  document.documentElement.lang = language;
}

/** Words by their key, with {name} filled in. */
export function t(key, values = {}) {
  const text = texts[key];
  if (text === undefined) throw new Error(`no text ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const has = (key) => key in texts;

/** Fills in what the page's own markup names. */
export function fill(root) {
  for (const node of root.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of root.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);

/** A time that a person can read, no more exact than it is. */
export function duration(seconds) {
  if (seconds < 90) return t("time.s", { n: Math.max(1, Math.round(seconds)) });
  if (seconds < 5400) return t("time.min", { n: Math.round(seconds / 60) });
  return t("time.h", { n: number(seconds / 3600, 1) });
}

/** A place in a clip: 1:02.35. */
export function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")}`;
}

export function bytes(count) {
  for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (count >= size) return `${number(count / size, 1)} ${unit}`;
  }
  return `${count} B`;
}
