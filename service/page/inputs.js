// Inputs of observations, one function per kind of modality; kinds.js assigns them.
//
// Arguments: modality; changed(observation), called with { value, file } or null; examples, the rows of the modality
// that come with the model. value is JSON: numbers, a label, or a file in base64; file is the name of an uploaded file.
// Returns { element, clear(), show(row) }; show displays a row that the model generated, and observes it.

import { button, droppable, h, say, short, upload } from "./dom.js";
import { base64, contentOf, extent, fitting, matrix, whole } from "./numbers.js";
import { Pad } from "./pad.js";
import { framing, paint, picture } from "./pixels.js";

/** An observation whose value is computed when it is read: a pen moves more often than requests are sent. */
function whenAsked(make) {
  let value;
  return {
    get value() {
      return (value ??= make());
    },
  };
}

// --- a picture -----------------------------------------------------------------------------------------

export function imageInput(modality, changed, examples) {
  const [height, width] = modality.shape;
  const range = modality.range ?? [0, whole(modality.dtype) ? 255 : 1];
  const grey = Array.from({ length: height }, () => new Array(width).fill(0));
  const sent = h("canvas", { class: "pixels seen", role: "img", "aria-label": `${modality.name} as it is sent` });
  const fit = h("input", { type: "checkbox", checked: true, onchange: () => pad.strokes.length && drawn() });
  const pad = new Pad(`Draw the ${modality.name} here`, width / height, drawn);
  const text = h("p", { class: "note" });
  let frame;

  function drawn() {
    if (!pad.strokes.length) return empty();
    text.textContent = "";
    frame ??= framing(examples, height, width, range);
    changed(whenAsked(() => {
      paint(sent, picture(pad.strokes, height, width, fit.checked ? frame : null), [0, 255]);
      return sent.toDataURL("image/png").split(",")[1];
    }));
  }

  /** The file itself is sent, so that the service reads it as it reads any other client's. */
  async function chosen(file) {
    pad.set([]);
    const content = await contentOf(file);
    changed({ value: base64(content), file: file.name });
    text.textContent = file.name;
    try {
      const bitmap = await createImageBitmap(file);
      Object.assign(sent, { width, height });
      sent.getContext("2d").drawImage(bitmap, 0, 0, width, height);
      pad.lay(sent);
    } catch {
      paint(sent, grey, [0, 255]); // the browser cannot show it; whether the service can read it, it will say
    }
  }

  function empty() {
    pad.set([]);
    paint(sent, grey, [0, 255]);
    text.textContent = "";
    changed(null);
  }

  const stage = h("div", { class: "stage" }, pad.element,
    h("div", { class: "beside" },
      h("figure", {}, sent, h("figcaption", {}, `what is sent, ${width} × ${height}`)),
      h("label", { class: "check" }, fit, "centre and scale what I draw"),
      text,
    ));
  const element = h("div", {}, stage,
    h("div", { class: "buttons" },
      button("Undo", () => pad.undo(), { "aria-label": `Undo the last stroke of ${modality.name}` }),
      button("Clear", empty, { "aria-label": `Clear ${modality.name}` }),
      upload("Upload or drop a picture", `Upload a picture as ${modality.name}`, "image/*", chosen),
    ));
  droppable(element, chosen);
  paint(sent, grey, [0, 255]);
  return {
    element,
    clear: empty,
    show(row) {
      pad.set([]);
      paint(sent, row, range);
      pad.lay(sent);
      changed({ value: sent.toDataURL("image/png").split(",")[1] });
    },
  };
}

// --- the path of a pen -----------------------------------------------------------------------------------

/**
 * Points at equal distances along what was drawn, pen lifts included, scaled so that its higher or wider side
 * fills the range: how such data is prepared (Alimoglu & Alpaydin, 1996). y grows upwards.
 */
function resampled(strokes, modality) {
  const path = strokes.flat();
  const [low, high] = modality.range ?? [0, 1];
  const [xs, ys] = [path.map(([x]) => x), path.map(([, y]) => -y)];
  const [left, bottom] = [Math.min(...xs), Math.min(...ys)];
  const scale = (high - low) / (Math.max(Math.max(...xs) - left, Math.max(...ys) - bottom) || 1);
  const points = path.map((_, i) => [low + (xs[i] - left) * scale, low + (ys[i] - bottom) * scale]);
  const along = [0];
  for (let i = 1; i < points.length; i++)
    along.push(along[i - 1] + Math.hypot(points[i][0] - points[i - 1][0], points[i][1] - points[i - 1][1]));
  const count = modality.shape[0];
  let next = 1;
  return Array.from({ length: count }, (_, k) => {
    const wanted = (along.at(-1) * k) / Math.max(1, count - 1);
    while (next < points.length - 1 && along[next] < wanted) next++;
    const share = (wanted - along[next - 1]) / (along[next] - along[next - 1] || 1);
    return [0, 1].map((axis) => points[next - 1][axis] + share * (points[next][axis] - points[next - 1][axis]));
  });
}

export function pointsInput(modality, changed) {
  const [low, high] = modality.range ?? [0, 1];
  const pad = new Pad(`Draw ${modality.name} here, in the order of writing`, 1, drawn);
  const text = h("p", { class: "note" }, `${modality.shape[0]} points along the path are sent`);

  function drawn() {
    if (pad.strokes.flat().length < 2) return changed(null);
    changed(whenAsked(() => fitting(modality, resampled(pad.strokes, modality))));
  }

  function empty() {
    pad.set([]);
    changed(null);
  }

  return {
    element: h("div", {}, h("div", { class: "stage" }, pad.element, h("div", { class: "beside" }, text)),
      h("div", { class: "buttons" },
        button("Undo", () => pad.undo(), { "aria-label": `Undo the last stroke of ${modality.name}` }),
        button("Clear", empty, { "aria-label": `Clear ${modality.name}` }))),
    clear: empty,
    show(row) {
      const inset = (value) => 0.1 + 0.8 * value;
      pad.set([row.map(([x, y]) => [inset((x - low) / (high - low)), inset(1 - (y - low) / (high - low))])]);
      changed({ value: fitting(modality, row) });
    },
  };
}

// --- numbers with names ------------------------------------------------------------------------------------

/** More columns are shown as a curve, with the table folded: hundreds of numbers are pasted, not typed. */
const MOST_LINES = 12;

export function vectorInput(modality, changed) {
  const columns = modality.columns ?? Array.from({ length: modality.shape[0] }, (_, i) => ({ name: `${i}` }));
  const gaps = !whole(modality.dtype); // a missing cell is NaN, which whole numbers do not have
  const fields = columns.map((column, index) =>
    h("input", {
      type: "text",
      inputmode: "decimal",
      "aria-label": [modality.name, column.name, column.unit && `in ${column.unit}`].filter(Boolean).join(" "),
      placeholder: "missing",
      oninput: read,
      onpaste: (event) => pasted(event, index),
    }),
  );
  const text = h("p", { class: "note" },
    columns.length > 1 ? `${gaps ? "An empty cell is missing; several" : "Several"} numbers can be pasted at once.` : "");

  /** A number as people write it; NaN for what is none. */
  const number = (field) => (field.value.trim() ? Number(field.value.replace(",", ".")) : null);

  function read() {
    const values = fields.map(number);
    fields.forEach((field, i) => {
      const wrong = String(Number.isNaN(values[i]));
      if (field.ariaInvalid !== wrong) field.ariaInvalid = wrong;
    });
    const known = values.map((value) => (Number.isNaN(value) ? null : value));
    const complete = known.every((value) => value !== null);
    const enough = gaps ? known.some((value) => value !== null) : complete;
    curve?.show(known);
    changed(enough ? { value: known } : null);
  }

  function pasted(event, index) {
    const numbers = event.clipboardData.getData("text").split(/[\s,;]+/).filter(Boolean);
    if (numbers.length < 2) return;
    event.preventDefault();
    numbers.forEach((value, i) => fields[index + i] && (fields[index + i].value = value));
    read();
  }

  const extras = { unit: (column) => column.unit, range: ({ range }) => range && `${short(range[0])} … ${short(range[1])}` };
  const more = Object.keys(extras).filter((title) => columns.some(extras[title]));
  const rows = columns.map((column, i) =>
    h("tr", {}, h("th", { scope: "row" }, column.name), h("td", {}, fields[i]),
      more.map((title) => h("td", { class: "unit" }, extras[title](column) ?? ""))));
  const head = ["column", "value", ...more].map((title) => h("th", { scope: "col" }, title));
  const table = h("div", { class: "cells" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
  const curve = columns.length > MOST_LINES ? curveOf(modality) : null;
  return {
    element: h("div", {},
      curve ? [curve.element, h("details", {}, h("summary", {}, `Type or paste the ${columns.length} numbers`), table, text)] : [table, text],
      h("div", { class: "buttons" }, button("Clear", clear, { "aria-label": `Clear ${modality.name}` }))),
    clear,
    show(row) {
      fitting(modality, row).forEach((value, i) => (fields[i].value = value ?? ""));
      read();
    },
  };

  function clear() {
    for (const field of fields) field.value = "";
    read();
  }
}

/** Numbers as a curve over the columns from left to right; what is missing is a gap. */
function curveOf(modality) {
  const count = modality.shape[0];
  const line = h("svg:path", { class: "median" });
  const caption = h("figcaption", {});
  const drawing = h("svg:svg", { class: "bands", viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img",
    "aria-label": `The numbers of ${modality.name}, from left to right` }, line);
  const show = (values) => {
    const [low, high] = extent(values);
    const at = (value, i) => `${((300 * i) / (count - 1)).toFixed(1)},${(96 - (92 * (value - low)) / (high - low || 1)).toFixed(2)}`;
    const steps = values.map((value, i) => (value === null ? "" : `${(values[i - 1] ?? null) === null ? "M" : "L"}${at(value, i)}`));
    line.setAttribute("d", steps.join(""));
    const present = values.filter((value) => value !== null).length;
    say(caption, present ? `${present} of ${count} numbers, ${short(low)} to ${short(high)}` : `none of ${count} numbers yet`);
  };
  show(new Array(count).fill(null));
  return { element: h("figure", { class: "curve" }, drawing, caption), show };
}

// --- one of several ------------------------------------------------------------------------------------------

export function categoryInput(modality, changed) {
  const radios = modality.labels.map((label) =>
    h("input", { type: "radio", name: modality.name, value: label, onchange: () => changed({ value: label }) }));
  const choose = (label) => {
    for (const radio of radios) radio.checked = radio.value === label;
  };
  return {
    element: h("fieldset", { class: "choices" }, h("legend", { class: "unseen" }, modality.name),
      modality.labels.map((label, i) => h("label", {}, radios[i], h("span", {}, label)))),
    clear() {
      choose(null);
      changed(null);
    },
    /** The most probable label of a row of probabilities, or a label itself. */
    show(row) {
      const label = Array.isArray(row) ? modality.labels[row.indexOf(Math.max(...row))] : row;
      choose(label);
      changed({ value: label });
    },
  };
}

// --- anything else -----------------------------------------------------------------------------------------------

export function tensorInput(modality, changed) {
  const view = h("canvas", { class: "pixels", role: "img", "aria-label": `${modality.name} as it is sent`, hidden: true });
  const text = h("p", { class: "note" }, `An array of shape (${modality.shape.join(", ")}), as a .npy file.`);
  async function chosen(file) {
    view.hidden = true;
    text.textContent = file.name;
    changed({ value: base64(await contentOf(file)), file: file.name });
  }
  const element = h("div", {}, view, text,
    h("div", { class: "buttons" }, upload("Upload or drop a .npy file", `Upload ${modality.name}`, ".npy", chosen)));
  droppable(element, chosen);
  return {
    element,
    clear() {
      view.hidden = true;
      text.textContent = "";
      changed(null);
    },
    show(row) {
      view.hidden = false;
      paint(view, matrix(row), extent(row), true);
      text.textContent = "";
      changed({ value: fitting(modality, row) });
    },
  };
}
