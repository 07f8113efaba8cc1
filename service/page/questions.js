// What the page asks, as requests: the page sends them, and "copy as" writes them down.

import { fieldsFor, hasSamples } from "./kinds.js";

/**
 * Everything that the page asks about one state of the cards.
 *
 * observed: by modality { value, file }: the value as JSON takes it (a label, numbers, a file in base64), and
 * the name of the file, where it came from one.
 */
export function question(manifest, observed, draws, seed) {
  const names = Object.keys(observed);
  const condition = names.length ? {} : { cond_mod: "none" };
  // What models have seen, where they know it: the standard normal lies between.
  const prior = !names.length && manifest.files["latent.npz"] ? { prior: "mixture" } : {};
  const inputs = Object.fromEntries(names.map((name) => [name, [observed[name].value]]));
  return {
    model: manifest.name,
    names,
    observed,
    body: names.length ? { inputs } : null,
    generate: { ...condition, ...prior, ...(hasSamples(manifest) ? { N: draws } : {}), seed, fields: fieldsFor(manifest) },
    encode: { ...condition, seed },
    at: performance.now(),
  };
}
