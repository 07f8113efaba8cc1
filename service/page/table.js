// Rows of mixed columns: numbers, and labels that are chosen from a list.

import { interval } from "./answers.js";
import { button, h, percent, short } from "./dom.js";

const COUNTS = ["poisson", "negative_binomial"];

/** A label, or a number as it is typed: a mean of counts as the nearest count. */
function textOf({ likelihood }, value) {
  if (typeof value !== "number") return value ?? "";
  return String(COUNTS.includes(likelihood) ? Math.round(value) : Number(value.toPrecision(6)));
}

export function tableInput(modality, changed) {
  const fields = modality.columns.map((column) => {
    const label = [modality.name, column.name, column.unit && `in ${column.unit}`].filter(Boolean).join(" ");
    if (!column.labels) return h("input", { type: "text", inputmode: "decimal", "aria-label": label, placeholder: "missing", oninput: read });
    return h("select", { "aria-label": label, onchange: read },
      h("option", { value: "" }, "missing"), column.labels.map((text) => h("option", { value: text }, text)));
  });

  /** The value of a cell: a label, a number, NaN for what is none, null where it is missing. */
  function valueOf(field, { labels }) {
    const text = field.value.trim();
    if (!text) return null;
    return labels ? field.value : Number(text.replace(",", "."));
  }

  function read() {
    const values = fields.map((field, i) => valueOf(field, modality.columns[i]));
    fields.forEach((field, i) => (field.ariaInvalid = String(Number.isNaN(values[i]))));
    const known = values.map((value) => (Number.isNaN(value) ? null : value));
    changed(known.some((value) => value !== null) ? { value: known } : null);
  }

  function clear() {
    for (const field of fields) field.value = "";
    read();
  }

  const rows = modality.columns.map((column, i) =>
    h("tr", {}, h("th", { scope: "row" }, column.name), h("td", {}, fields[i]), h("td", { class: "unit" }, column.unit ?? "")));
  const head = ["column", "value", "unit"].map((title) => h("th", { scope: "col" }, title));
  return {
    element: h("div", {},
      h("div", { class: "cells" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))),
      h("p", { class: "note" }, "An empty cell is missing."),
      h("div", { class: "buttons" }, button("Clear", clear, { "aria-label": `Clear ${modality.name}` }))),
    clear,
    /** A row by column, or in the order of the columns. */
    show(row) {
      modality.columns.forEach((column, i) => (fields[i].value = textOf(column, Array.isArray(row) ? row[i] : row[column.name])));
      read();
    },
  };
}

/** Of every column of numbers the median and intervals; of labels the most probable one and its probability. */
export function tableAnswer(modality) {
  // The scale of a column stays while the page is open, so that an interval is seen to shrink.
  const scales = modality.columns.map(({ range }) => (range ? [...range] : [Infinity, -Infinity]));
  const body = h("tbody", {});
  const heads = ["column", "median or label", "90 % between, or probability", "unit"].map((title) => h("th", { scope: "col" }, title));

  function numbers([[low, lower, middle, upper, high]], known, scale) {
    [scale[0], scale[1]] = [Math.min(scale[0], low, known ?? low), Math.max(scale[1], high, known ?? high)];
    return [h("td", { class: "number" }, short(middle)),
      h("td", {}, interval(scale, [low, lower, middle, upper, high], known),
        h("span", { class: "ends" }, h("span", {}, short(low)), h("span", {}, short(high))))];
  }

  const labels = ({ ranked, probabilities }) =>
    [h("td", { class: "number" }, ranked[0][0]), h("td", {}, percent(Math.max(...probabilities[0])))];

  return {
    element: h("div", { class: "cells" }, h("table", { class: "intervals" }, h("thead", {}, h("tr", {}, heads)), body)),
    show({ columns }, question) {
      const given = question.observed[modality.name]?.value;
      body.replaceChildren(...modality.columns.map((column, i) => {
        const answer = columns[column.name];
        const cells = column.labels ? labels(answer) : numbers(answer.quantiles, given?.[i] ?? null, scales[i]);
        return h("tr", {}, h("th", { scope: "row" }, column.name), cells, h("td", { class: "unit" }, column.unit ?? ""));
      }));
    },
  };
}

/** The first sample of a target, in the order of the columns. */
export const tableSample = (modality, { columns }) => modality.columns.map(({ name }) => columns[name].samples[0][0]);
