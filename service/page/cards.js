// The left side: a card per modality, each observed or missing.

import { button, h, listed, say } from "./dom.js";
import { kindOf } from "./kinds.js";

export class Cards {
  /**
   * Arguments: manifest; onchange, called when what is observed changes; imagine(name), which resolves to a row
   * of a modality that the model makes from what is observed now; examples, cases to begin with.
   */
  constructor(manifest, onchange, imagine, examples) {
    this.manifest = manifest;
    this.onchange = onchange;
    this.examples = examples;
    this.cards = new Map(
      manifest.modalities.map((modality, index) => [modality.name, new Card(modality, index, () => this.#changed(modality.name), imagine, examples)]),
    );
    // Kinds that take one click come first: a newcomer begins there, and sees the example.
    this.inOrder = [...this.cards.values()].sort((a, b) => a.effort - b.effort);
    this.elements = this.inOrder.map((card) => card.element);
    this.example = null;
    this.cases = 0;
  }

  /** By modality what is observed and switched on. */
  get observed() {
    const on = [...this.cards].filter(([, card]) => card.on);
    return Object.fromEntries(on.map(([name, card]) => [name, card.observation]));
  }

  get isEmpty() {
    return [...this.cards.values()].every((card) => !card.on);
  }

  /** Shows an example before the first input: a label, if the model has one. The first input replaces it. */
  loadExample() {
    const category = this.manifest.modalities.find((modality) => modality.labels);
    if (!category) return null;
    const label = category.labels[Math.min(3, category.labels.length - 1)];
    this.cards.get(category.name).take(label);
    this.example = category.name;
    return `${category.name} ${label}`;
  }

  /**
   * The next example case: every card has its view of it, and one of them is given, each time another; the others
   * are kept back, to compare with and to be switched on. Returns the name of the one that is given.
   */
  showCase() {
    const row = this.examples.next();
    const there = this.inOrder.filter(({ modality }) => this.examples.row(modality.name, row) !== null);
    const telling = there.filter(({ modality }) => !modality.labels);
    const turns = telling.length ? telling : there;
    const given = turns[this.cases++ % turns.length];
    this.example = null;
    for (const card of this.inOrder) card.forget();
    for (const card of there) card.takeExample(row, card === given);
    return given.modality.name;
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
  constructor(modality, index, onchange, imagine, examples) {
    this.modality = modality;
    this.observation = null;
    this.on = false;
    this.onchange = onchange;
    this.examples = examples;
    this.input = kindOf(modality).input(modality, (observation) => this.#observed(observation), examples.of(modality.name));
    this.toggle = button("missing", () => this.#switch(), { role: "switch", class: "switch", "aria-checked": "false", "aria-label": `${modality.name} is observed` });
    this.problem = h("p", { class: "refused" });
    const own = button("Use an example", () => this.takeExample(examples.next(modality.name), true), {
      class: "quiet",
      "aria-label": `Use an example: ${modality.name}`,
      title: `The ${modality.name} of a case that came with the model`,
    });
    const made = button("Make one up", () => this.#imagine(imagine), {
      class: "quiet",
      "aria-label": `Make one up: ${modality.name}`,
      title: `A ${modality.name} that the model makes from what is observed now`,
    });
    const id = `card-${modality.name}`;
    this.element = h("article", { class: `card m${index % 8} missing`, "aria-labelledby": id },
      h("header", {}, h("h3", { id }, modality.name), h("span", { class: "kind" }, kindOf(modality).noun), this.toggle),
      this.input.element, this.problem);
    const means = examples.of(modality.name).length ? [own, made] : [made];
    this.element.querySelector(".buttons")?.append(...means);
  }

  take(row, wav) {
    return this.input.show(row, wav);
  }

  /** The sort key of cards: the easiest to fill in comes first. */
  get effort() {
    return kindOf(this.modality).effort(this.modality);
  }

  /** The view that an example has of this modality: given to the model, or kept back. */
  takeExample(row, given) {
    const { name, labels } = this.modality;
    const value = this.examples.row(name, row);
    this.take(labels ? labels[value] : value, this.input.wantsSound ? () => this.examples.sound(name, row) : null);
    if (!given) this.#switch();
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
    say(this.toggle, this.on ? "observed" : this.observation ? "kept back" : "missing");
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
  const ways = [...new Set(manifest.modalities.map((modality) => kindOf(modality).verb))];
  const todo = listed(ways, "or");
  return example
    ? `An example: given ${example}, the model makes the rest. Now ${todo} something, and the example gives way.`
    : `Begin here: ${todo} something.`;
}
