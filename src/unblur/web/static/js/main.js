// Which page is shown, in which language and colours.

import { atlas } from "./atlas.js";
import { choice, el, say } from "./dom.js";
import * as jobs from "./jobs.js";
import { queue } from "./queue.js";
import { restore } from "./restore.js";
import { fill, language, languages, load, t } from "./texts.js";
import { trial } from "./trial.js";

const PAGES = { restore, atlas, trial, jobs: queue };
const THEMES = ["auto", "light", "dark"];

function kept(name) { try { return localStorage.getItem(name); } catch { return null; } }
function keep(name, value) { try { localStorage.setItem(name, value); } catch { /* storage is shut */ } }

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = t(`theme.${theme}`);
  window.dispatchEvent(new Event("themechange"));
}

let turn = 0;
async function show() {
  const [name, id] = location.hash.slice(1).split("/");
  const page = PAGES[name] ? name : "restore";
  const main = document.getElementById("main");
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `unblur · ${t(`tab.${page}`)}`;
  const mine = ++turn;
  const root = el("div", { "data-page": page });
  main.replaceChildren(root);
  try { await PAGES[page](root, id); } catch (error) { if (mine === turn) say(error.message, true); throw error; }
}

await load();
fill(document);
const chooser = document.getElementById("language");
chooser.append(...choice(Object.entries(languages), language).children);
chooser.value = language;
chooser.onchange = () => { keep("language", chooser.value); location.reload(); };
let theme = THEMES.includes(kept("theme")) ? kept("theme") : "auto";
setTheme(theme);
document.getElementById("theme").onclick = () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  keep("theme", theme);
  setTheme(theme);
};
const living = document.getElementById("living");
jobs.follow(living, (all) => {
  const count = all.filter((job) => job.kind !== "estimate" && jobs.LIVING.includes(job.state)).length;
  living.textContent = count;
  living.hidden = count === 0;
});
window.addEventListener("hashchange", show);
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => event.preventDefault());
await jobs.refresh();
await show();
document.body.dataset.ready = "";
