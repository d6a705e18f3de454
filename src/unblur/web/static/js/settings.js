// How a clip is restored: strength and quality for all, model and file for those who want it.

import * as api from "./api.js";
import { choice, el, field, range } from "./dom.js";
import { number, t } from "./texts.js";

let models = null;

/** A form. value() gives what a request takes; suggest(model) offers one. */
export function settings({ files = true, onchange } = {}) {
  const quality = ["auto", "fast", "best"].map((q, n) =>
    el("label", {}, el("input", { type: "radio", name: `quality${files}`, value: q, checked: n === 0 }), t(`quality.${q}`)));
  const strength = range(0, 1, 0.05, 1);
  const model = choice([["auto", t("model.auto")]], "auto");
  const hint = el("p.soft.small", { hidden: true });
  const container = choice(["mp4", "mov", "mkv", "webm"].map((c) => [c, c]), "mp4");
  const codec = choice([["", t("codec.auto")], ...["h264", "h265", "av1", "vp9", "prores", "ffv1"].map((c) => [c, c])], "");
  const deinterlace = el("input", { type: "checkbox" });
  const node = el("form", { onsubmit: (e) => e.preventDefault(), onchange: () => { lock(); onchange?.(); } },
    el("fieldset", {}, el("legend", {}, t("quality")), quality),
    field(t("strength"), strength, (v) => `${number(100 * v)} %`),
    hint,
    el("details", {}, el("summary", {}, t("more")),
      field(t("model"), model),
      files ? el(".row", {}, field(t("container"), container), field(t("codec"), codec)) : null,
      el("label", {}, deinterlace, " ", t("deinterlace"))));

  function lock() { // a model that is named leaves nothing for quality to choose
    for (const label of quality) label.firstChild.disabled = model.value !== "auto";
  }

  (async () => {
    models ??= api.get("/api/models");
    for (const m of await models) model.append(el("option", { value: m.name, title: m.summary }, `${m.name} (${t(`blur.${m.blur}`)})`));
  })();
  return {
    node,
    suggest(name, text) {
      hint.hidden = !name;
      hint.replaceChildren(text ?? "", " ", el("button", {
        type: "button",
        onclick: () => { model.value = name; node.querySelector("details").open = true; lock(); onchange?.(); },
      }, t("model.take", { name })));
    },
    interlaced(is) { deinterlace.checked = is; },
    value() {
      const chosen = quality.find((l) => l.firstChild.checked).firstChild.value;
      const plain = {
        model: model.value,
        quality: model.value === "auto" ? chosen : "auto",
        strength: +strength.value,
        deinterlace: deinterlace.checked,
      };
      return { plain, file: { container: container.value, codec: codec.value || null } };
    },
  };
}
