// What is known of the case as a whole: who said how much, and whether they agree.

import { h, listed, percent, repeated, say } from "./dom.js";

/** Without held-out rows to compare with: e³ ≈ 20 times less likely to belong together than not. */
const CONTRADICTION = 3;
const RARE = 99; // of 100 held-out rows

export function posteriorPanel(manifest) {
  const bar = h("div", { class: "shares", role: "img" });
  const legend = h("ul", { class: "legend" });
  const learned = h("p", { class: "learned" });
  const warning = h("p", { class: "warning", role: "status" });
  const showPieces = repeated(bar, piece);
  const showLegend = repeated(legend, entry);
  return {
    element: h("div", { class: "who" }, h("h3", {}, "Where the answer comes from"), learned, bar, legend, warning),
    show(answer, question) {
      const shares = Object.entries(answer.contributions).map(([name, [share]]) => ({ name, share, kind: tint(manifest, name) }));
      bar.setAttribute("aria-label", shares.map(({ name, share }) => `${name} ${percent(share)}`).join(", "));
      showPieces(shares.filter(({ share }) => share > 0));
      showLegend(shares.filter(({ name, share }) => share > 0 || question.names.includes(name)));
      const nats = answer.information[0];
      learned.replaceChildren(h("b", { title: "How far this is from knowing nothing: the Kullback-Leibler divergence from the prior" }, `${nats.toFixed(1)} nats`), question.names.length
        ? ` learned from ${listed(question.names)}: ${answersOf(nats)}`
        : " learned: nothing is observed, this is what the model expects of any case");
      say(warning, contradiction(manifest, question.names, answer.disagreement[0]));
    },
  };
}

/** Nats as answers to yes-or-no questions, each worth log 2 nats. */
function answersOf(nats) {
  const answers = Math.round(nats / Math.LN2);
  return `as much as ${answers} ${answers === 1 ? "answer" : "answers"} of yes or no`;
}

function piece() {
  const element = h("span");
  return {
    element,
    show({ share, kind }) {
      element.className = kind;
      element.style.flexGrow = share;
    },
  };
}

function entry() {
  const [name, number] = [h("span"), h("b")];
  const element = h("li", {}, name, " ", number);
  return {
    element,
    show({ name: called, share, kind }) {
      element.className = kind;
      say(name, called === "prior" ? "what was known before" : called);
      say(number, percent(share));
    },
  };
}

function tint(manifest, name) {
  const index = manifest.modalities.findIndex((modality) => modality.name === name);
  return index < 0 ? "prior" : `m${index % 8}`;
}

/** A sentence, where what is observed does not go together; compared with held-out rows where the model has some. */
function contradiction(manifest, names, disagreement) {
  if (names.length < 2) return "";
  const claim = `${listed(names)} contradict each other`;
  const quantiles = referenceOf(manifest, names);
  if (!quantiles) {
    return disagreement > CONTRADICTION ? `⚠ ${claim} (disagreement ${disagreement.toFixed(1)} nats).` : "";
  }
  const below = quantiles.findLastIndex((value) => value < disagreement) / (quantiles.length - 1);
  return 100 * below >= RARE ? `⚠ ${claim}: of held-out cases, ${Math.floor(100 * below)} % agree better (disagreement ${disagreement.toFixed(1)} nats).` : "";
}

/** The quantiles of the disagreement of these modalities, whichever of them was asked for. */
function referenceOf(manifest, names) {
  const wanted = [...names].sort().join();
  const found = Object.entries(manifest.reference ?? {}).find(
    ([question, { disagreement }]) => disagreement && question.split(/[|,]/).sort().join() === wanted,
  );
  return found?.[1].disagreement;
}
