// The right side: a panel per modality with the model's answer about it.

import { h, percent, say } from "./dom.js";
import { kindOf } from "./kinds.js";

export function answerFor(modality, index, context) {
  const { element, show } = kindOf(modality).answer(modality, context);
  const note = h("span", { class: "kind" });
  const id = `answer-${modality.name}`;
  return {
    element: h("article", { class: `panel answer m${index % 8}`, "aria-labelledby": id },
      h("header", {}, h("h3", { id }, modality.name), note), element),
    show(target, question) {
      say(note, question.names.includes(modality.name) ? "as the model sees it" : "generated");
      show(first(target), question);
    },
  };
}

/** The only row of a target. */
function first(target) {
  const rowwise = ["mean", "std", "quantiles", "samples", "probabilities", "ranked"];
  return Object.fromEntries(Object.entries(target).map(([key, value]) => [key, rowwise.includes(key) ? value[0] : value]));
}

/** The most probable label in words; null for modalities without labels. */
export function sentenceOf(modality, target) {
  if (!modality.labels) return null;
  const { ranked, probabilities } = first(target);
  return `${modality.name} ${ranked[0]} (${percent(Math.max(...probabilities))})`;
}
