// One entry per kind of modality. A new kind is an entry here, with the components that show it.

import { categoryAnswer, imageAnswer, pointsAnswer, soundAnswer, tensorAnswer, vectorAnswer } from "./answers.js";
import { categoryInput, imageInput, pointsInput, tensorInput, vectorInput } from "./inputs.js";
import { soundInput } from "./inputs-sound.js";
import { tableAnswer, tableInput, tableSample } from "./table.js";
import { videoAnswer, videoInput } from "./video.js";

const PICTURED = ["mean", "std", "samples"];
/** Fewer numbers are easier to give. */
const byLength = ({ shape }) => 1 - 1 / shape[0];

/**
 * noun: the kind in words. verb: the first thing to do with it. effort(modality): cards are sorted by it, the easiest
 * first: a click, a drawing, a word, numbers. input, answer: see inputs.js and answers.js. fields: the summaries of
 * /generate that the answer shows. sample(modality, target): a row that can be observed, of a target with samples.
 */
const KINDS = {
  category: { noun: "one of several", verb: "choose", effort: () => 0, input: categoryInput, answer: categoryAnswer, fields: ["probabilities"] },
  image: { noun: "picture", verb: "draw", effort: () => 1, input: imageInput, answer: imageAnswer, fields: PICTURED },
  points: { noun: "pen strokes", verb: "write", effort: () => 2, input: pointsInput, answer: pointsAnswer, fields: PICTURED },
  audio: { noun: "sound", verb: "record", effort: () => 3, input: soundInput, answer: soundAnswer, fields: PICTURED },
  vector: { noun: "numbers", verb: "type", effort: (modality) => 4 + byLength(modality), input: vectorInput, answer: vectorAnswer, fields: ["quantiles"] },
  counts: { noun: "counts", verb: "type", effort: (modality) => 5 + byLength(modality), input: vectorInput, answer: vectorAnswer, fields: ["quantiles"] },
  table: { noun: "row of a table", verb: "fill in", effort: (modality) => 4 + byLength(modality), input: tableInput, answer: tableAnswer, fields: ["quantiles", "probabilities"], sample: tableSample },
  video: { noun: "video", verb: "upload", effort: () => 6, input: videoInput, answer: videoAnswer, fields: PICTURED },
  tensor: { noun: "array", verb: "upload", effort: () => 7, input: tensorInput, answer: tensorAnswer, fields: PICTURED },
};

/** The entry of a modality's kind; arrays stand in for a kind that this page does not have. */
export const kindOf = ({ kind }) => KINDS[kind] ?? KINDS.tensor;

/** Whether anything of this model is shown as samples. */
export const hasSamples = (manifest) => manifest.modalities.some((modality) => kindOf(modality).fields.includes("samples"));

/** The summaries that are shown, and no others: each takes time to compute. */
export const fieldsFor = (manifest) => [...new Set(manifest.modalities.flatMap((modality) => kindOf(modality).fields))].join(",");

/** The first sample of a target. */
export const sampleOf = (modality, target) => kindOf(modality).sample?.(modality, target) ?? target.samples[0][0];
