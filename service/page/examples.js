// Example cases that come with a model.

import { ask, askJson } from "./client.js";

/** Most numbers and cases to load: enough to compare, and fast. */
const MOST_NUMBERS = 100_000;
const MOST_CASES = 32;

export class Examples {
  /** Resolves to the first cases that the bundle of that manifest holds. */
  static async of({ name, modalities }) {
    const numbers = modalities.reduce((sum, { shape }) => sum + shape.reduce((size, side) => size * side, 1), 0);
    const wanted = Math.max(1, Math.min(MOST_CASES, Math.floor(MOST_NUMBERS / numbers)));
    const { inputs } = await askJson(`models/${name}/examples?n_data=${wanted}`);
    return new Examples(name, inputs);
  }

  constructor(model, inputs) {
    Object.assign(this, { model, inputs, last: -1 });
    this.count = Object.values(inputs)[0].length;
  }

  /** The rows of a modality that there are. */
  of(name) {
    return this.inputs[name].filter((row) => row !== null);
  }

  /** One row of a modality; null where the case lacks it. */
  row(name, index) {
    return this.inputs[name][index];
  }

  /** The number of the next case, of those that have the modality; all of them in turn. */
  next(name) {
    for (let step = 1; step <= this.count; step++) {
      const index = (this.last + step) % this.count;
      if (name && this.row(name, index) === null) continue;
      return (this.last = index);
    }
    return null;
  }

  /** The sound of a row, as a WAV. */
  async sound(name, index) {
    const response = await ask(`models/${this.model}/examples/${index}/${name}`);
    return new Uint8Array(await response.arrayBuffer());
  }
}
