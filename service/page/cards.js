// The left side: a card per modality, each observed or missing.

import { button, h, listed, say } from "./dom.js";
import { inputFor } from "./inputs.js";

const KINDS = {
  image: "picture",
  audio: "sound",
  points: "pen strokes",
  vector: "numbers",
  counts: "counts",
  category: "one of several",
  tensor: "array",
};

export class Cards {
  /**
   * Arguments: manifest; onchange, called when what is observed changes; imagine(name), which resolves to a row
   * of a modality that the model makes from what is observed now.
   */
  constructor(manifest, onchange, imagine) {
    this.manifest = manifest;
    this.onchange = onchange;
    this.cards = new Map(
      manifest.modalities.map((modality, index) => [modality.name, new Card(modality, index, () => this.#changed(modality.name), imagine)]),
    );
    // What is chosen with one click comes first: whoever is new begins there, and sees the example.
    const inOrder = [...this.cards.values()].sort((a, b) => (b.modality.kind === "category") - (a.modality.kind === "category"));
    this.elements = inOrder.map((card) => card.element);
    this.example = null;
  }

  /** By modality what is observed and switched on. */
  get observed() {
    const on = [...this.cards].filter(([, card]) => card.on);
    return Object.fromEntries(on.map(([name, card]) => [name, card.observation]));
  }

  get isEmpty() {
    return [...this.cards.values()].every((card) => !card.on);
  }

  /** Something to look at before anything was done: a label, where the model has one. Whatever is done first replaces it. */
  loadExample() {
    const category = this.manifest.modalities.find((modality) => modality.kind === "category");
    if (!category) return null;
    const label = category.labels[Math.min(3, category.labels.length - 1)];
    this.cards.get(category.name).take(label);
    this.example = category.name;
    return `${category.name} ${label}`;
  }

  clear() {
    this.example = null;
    for (const card of this.cards.values()) card.forget();
    this.onchange();
  }

  /** Says the service's own words on the card that they are about. */
  refuse(detail) {
    for (const [name, card] of this.cards) card.refuse(concerns(detail, name) ? detail : "");
  }

  #changed(name) {
    if (this.example && this.example !== name && this.cards.get(name).observation) {
      const example = this.example;
      this.example = null; // first, since forgetting is a change too
      this.cards.get(example).forget();
    }
    if (this.example === name) this.example = null;
    this.onchange();
  }
}

/** Whether a message of the service names that modality. */
export function concerns(detail, name) {
  return new RegExp(`'${name}'|inputs\\.${name}\\b`).test(detail);
}

class Card {
  constructor(modality, index, onchange, imagine) {
    this.modality = modality;
    this.observation = null;
    this.on = false;
    this.onchange = onchange;
    this.input = inputFor(modality, (observation) => this.#observed(observation));
    this.toggle = button("missing", () => this.#switch(), { role: "switch", class: "switch", "aria-checked": "false", "aria-label": `${modality.name} is observed` });
    this.problem = h("p", { class: "refused" });
    const take = button("Take one from the model", () => this.#imagine(imagine), {
      class: "quiet",
      "aria-label": `Take one ${modality.name} from the model`,
      title: `A ${modality.name} that the model makes from what is observed now`,
    });
    const id = `card-${modality.name}`;
    this.element = h("article", { class: `card m${index % 8} missing`, "aria-labelledby": id },
      h("header", {}, h("h3", { id }, modality.name), h("span", { class: "kind" }, KINDS[modality.kind]), this.toggle),
      this.input.element, this.problem,
      modality.kind === "category" ? null : take);
  }

  take(row, wav) {
    return this.input.show(row, wav);
  }

  forget() {
    this.input.clear();
    this.refuse("");
  }

  refuse(detail) {
    this.problem.textContent = detail;
  }

  #observed(observation) {
    this.observation = observation;
    this.on = observation !== null;
    this.#tell();
    this.onchange();
  }

  #switch() {
    this.on = !this.on && this.observation !== null;
    this.refuse(this.on || this.observation ? "" : `There is no ${this.modality.name} yet.`);
    this.#tell();
    this.onchange();
  }

  #tell() {
    say(this.toggle, this.on ? "observed" : "missing");
    this.toggle.setAttribute("aria-checked", String(this.on));
    this.element.classList.toggle("missing", !this.on);
  }

  async #imagine(imagine) {
    try {
      const { row, wav } = await imagine(this.modality, this.input.wantsSound);
      await this.take(row, wav);
    } catch (error) {
      this.refuse(error.message);
    }
  }
}

/** What one can do first, for a person who has never seen such a page. */
export function invitation(manifest, example) {
  const verbs = { image: "draw", audio: "record", points: "write", category: "choose", vector: "type", counts: "type", tensor: "upload" };
  const ways = [...new Set(manifest.modalities.map(({ kind }) => verbs[kind]))];
  const todo = listed(ways, "or");
  return example
    ? `An example: given ${example}, the model makes the rest. Now ${todo} something, and the example gives way.`
    : `Begin here: ${todo} something.`;
}
