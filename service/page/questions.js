// What the page asks, as requests: the page sends them, and "copy as" writes them down.

const SHOWN = { category: ["probabilities"], vector: ["quantiles"], counts: ["quantiles"] };
const PICTURED = ["mean", "std", "samples"];
const shownOf = ({ kind }) => SHOWN[kind] ?? PICTURED;

/** Whether anything of this model is shown as samples. */
export const hasSamples = (manifest) => manifest.modalities.some((modality) => shownOf(modality) === PICTURED);

/** What is shown, and no more: every number that is asked for takes its time. */
const fieldsFor = (manifest) => [...new Set(manifest.modalities.flatMap(shownOf))].join(",");

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

export function path(asked, operation, more = {}) {
  const query = new URLSearchParams({ ...asked[operation], ...more }).toString().replaceAll("%2C", ",");
  return `models/${asked.model}/${operation}?${query}`;
}
