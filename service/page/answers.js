// Answers, one function per kind of modality; kinds.js assigns them.
//
// Arguments: modality; context, with fail(error). Returns { element, show(target, question) }; a target is the answer
// of /generate about one row.

import { path, post } from "./client.js";
import { button, h, percent, repeated, say, short } from "./dom.js";
import { extent, matrix, whole } from "./numbers.js";
import { paint, paintGrid } from "./pixels.js";
import { fetchWav, play } from "./sound.js";

const MOST_BARS = 12;
const MOST_LINES = 24;

function figure(canvas, caption) {
  return h("figure", {}, canvas, h("figcaption", {}, caption));
}

function canvasOf(label, more = "") {
  return h("canvas", { class: `pixels ${more}`, role: "img", "aria-label": label });
}

// --- pictures and sounds -----------------------------------------------------------------------------------

/** N samples in a grid, the mean of the predictive distribution, and its standard deviation. */
function gridOf(modality, range, upright, warm, more = "") {
  const samples = canvasOf(`Samples of ${modality.name}`, `grid ${more}`);
  const mean = canvasOf(`Mean of ${modality.name}`, more);
  const std = canvasOf(`Standard deviation of ${modality.name}`, more);
  const count = h("figcaption", {});
  return {
    element: h("div", { class: "grids" }, h("figure", { class: "wide" }, samples, count),
      h("div", { class: "small" }, figure(mean, "mean"), figure(std, "unsure"))),
    show(target) {
      const draws = target.samples.map(upright);
      paintGrid(samples, draws, Math.ceil(Math.sqrt(draws.length)), range(target), warm);
      paint(mean, upright(target.mean), range(target), warm);
      const [low, high] = range(target);
      const widest = (cell) => (Array.isArray(cell) ? Math.max(...cell) : cell);
      // Half the range: nothing between its ends can be less sure.
      paint(std, upright(target.std).map((row) => row.map(widest)), [0, (high - low) / 2], true);
      say(count, draws.length === 1 ? "one sample" : `${draws.length} samples, each as likely as the others`);
    },
  };
}

export function imageAnswer(modality) {
  const fixed = modality.range ?? (whole(modality.dtype) ? [0, 255] : null);
  return gridOf(modality, (target) => fixed ?? extent(target.mean), (picture) => picture, false);
}

export function soundAnswer(modality, context) {
  const fixed = modality.range ?? (whole(modality.dtype) ? [0, 255] : null);
  const flipped = (bands) => [...bands].reverse(); // low tones below
  const { element, show } = gridOf(modality, (target) => fixed ?? extent(target.mean), flipped, true, "spectrum");
  let current;
  const status = h("span", { class: "note", role: "status" });
  const player = button("▶ Play a sample", listen, { "aria-label": `Play a sample of ${modality.name}` });

  async function listen() {
    player.disabled = true;
    status.textContent = "";
    try {
      const address = path(current, "generate", { gen_mod: modality.name, N: 1, fields: "samples" });
      await play(await fetchWav(address, post(address, current.body, { accept: "audio/wav" })));
    } catch (error) {
      context.fail(error);
      status.textContent = error.message;
    }
    player.disabled = false;
  }

  return {
    element: h("div", {}, element, modality.spectrogram ? h("div", { class: "buttons" }, player, status) : null),
    show(target, question) {
      current = question;
      show(target);
    },
  };
}

export function tensorAnswer(modality) {
  return gridOf(modality, (target) => extent(target.mean), matrix, true);
}

// --- pen strokes ---------------------------------------------------------------------------------------------

export function pointsAnswer(modality) {
  const [low, high] = modality.range ?? [0, 1];
  const size = high - low;
  const drawing = h("svg:svg", { class: "strokes", viewBox: `${low - size * 0.25} ${low - size * 0.25} ${size * 1.5} ${size * 1.5}`, role: "img" });
  const caption = h("figcaption", {});
  const [spread, thin, thick] = ["spread", "samples", "mean"].map((kind) => h("svg:g", { class: kind }));
  const start = h("svg:circle", { class: "start", r: size * 0.03 });
  drawing.append(spread, thin, thick, start);
  const place = (element, attributes) => Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  const above = (y) => low + high - y;
  const line = () => {
    const element = h("svg:polyline");
    return { element, show: (points) => place(element, { points: points.map(([x, y]) => `${x.toFixed(2)},${above(y).toFixed(2)}`).join(" ") }) };
  };
  const oval = () => {
    const element = h("svg:ellipse");
    return { element, show: ([[x, y], [rx, ry]]) => place(element, { cx: x, cy: above(y), rx, ry }) };
  };
  const [showSpread, showSamples, showMean] = [repeated(spread, oval), repeated(thin, line), repeated(thick, line)];
  return {
    element: h("figure", { class: "wide" }, drawing, caption),
    show({ mean, std, samples }) {
      showSpread(mean.map((point, i) => [point, std[i]]));
      showSamples(samples);
      showMean([mean]);
      place(start, { cx: mean[0][0], cy: above(mean[0][1]) });
      drawing.setAttribute("aria-label", `Strokes of ${modality.name}: the mean and ${samples.length} samples`);
      say(caption, `the mean (thick, from the dot on), ${samples.length} samples (thin), ± one standard deviation (ovals)`);
    },
  };
}

// --- labels ----------------------------------------------------------------------------------------------------

export function categoryAnswer(modality) {
  const list = h("ol", { class: "bars" });
  const showBars = repeated(list, () => {
    const [name, bar, number] = ["name", "bar", "number"].map((kind) => h("span", { class: kind }));
    const element = h("li", {}, name, h("span", { class: "track" }, bar), number);
    return {
      element,
      show({ label, share, best }) {
        say(name, label);
        say(number, percent(share));
        bar.style.transform = `translateX(${100 * (share - 1)}%)`; // nothing else has to move
        element.classList.toggle("best", best);
      },
    };
  });
  return {
    element: list,
    show({ probabilities, ranked }) {
      const many = modality.labels.length > MOST_BARS;
      const best = Math.max(...probabilities);
      showBars((many ? ranked.slice(0, MOST_BARS) : modality.labels).map((label) => {
        const share = probabilities[modality.labels.indexOf(label)];
        return { label, share, best: share === best };
      }));
    },
  };
}

// --- numbers with names --------------------------------------------------------------------------------------------

/** Of every column the median, and the intervals that hold 50 % and 90 %. */
export function vectorAnswer(modality) {
  const columns = modality.columns ?? Array.from({ length: modality.shape[0] }, (_, i) => ({ name: `${i}` }));
  return columns.length > MOST_LINES ? bandAnswer(modality, columns) : linesAnswer(modality, columns);
}

function linesAnswer(modality, columns) {
  // The scale of a column stays while the page is open, so that an interval is seen to shrink.
  const scales = columns.map((column) => (column.range ? [...column.range] : [Infinity, -Infinity]));
  const body = h("tbody", {});
  const units = columns.some((column) => column.unit);
  const heads = ["column", "median", "90 % between", ...(units ? ["unit"] : [])].map((title) => h("th", { scope: "col" }, title));
  return {
    element: h("div", { class: "cells" }, h("table", { class: "intervals" }, h("thead", {}, h("tr", {}, heads)), body)),
    show({ quantiles }, question) {
      const given = question.observed[modality.name]?.value;
      body.replaceChildren(...columns.map((column, i) => {
        const [low, lower, middle, upper, high] = quantiles.map((row) => row[i]);
        const known = Array.isArray(given) ? given[i] : null;
        const scale = scales[i];
        [scale[0], scale[1]] = [Math.min(scale[0], low, known ?? low), Math.max(scale[1], high, known ?? high)];
        return h("tr", {}, h("th", { scope: "row" }, column.name), h("td", { class: "number" }, short(middle)),
          h("td", {}, interval(scale, [low, lower, middle, upper, high], known),
            h("span", { class: "ends" }, h("span", {}, short(low)), h("span", {}, short(high)))),
          units ? h("td", { class: "unit" }, column.unit ?? "") : null);
      }));
    },
  };
}

export function interval([from, to], [low, lower, middle, upper, high], known) {
  const at = (value) => 2 + (96 * (value - from)) / (to - from || 1);
  const bar = (kind, left, right, thick) =>
    h("svg:rect", { class: kind, x: at(left), y: 6 - thick / 2, width: Math.max(0.5, at(right) - at(left)), height: thick, rx: thick / 2 });
  return h("svg:svg", { class: "interval", viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
    bar("wide", low, high, 3), bar("narrow", lower, upper, 7),
    h("svg:rect", { class: "median", x: at(middle) - 0.6, y: 1, width: 1.2, height: 10 }),
    known === null || known === undefined ? null : h("svg:circle", { class: "known", cx: at(known), cy: 6, r: 2.2 }));
}

/** Many columns: the same quantiles as bands over the columns from left to right. */
function bandAnswer(modality, columns) {
  const drawing = h("svg:svg", { class: "bands", viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img",
    "aria-label": `Median and intervals of the ${columns.length} columns of ${modality.name}` });
  const caption = h("figcaption", {});
  let scale = [Infinity, -Infinity];
  return {
    element: h("figure", { class: "wide" }, drawing, caption),
    show({ quantiles }, question) {
      scale = extent(quantiles, scale);
      const place = (value, i) => `${((300 * i) / (columns.length - 1)).toFixed(1)},${(98 - (96 * (value - scale[0])) / (scale[1] - scale[0] || 1)).toFixed(2)}`;
      const line = (row) => row.map(place);
      const band = (low, high, kind) => h("svg:polygon", { class: kind, points: [...line(low), ...line(high).reverse()].join(" ") });
      const given = question.observed[modality.name]?.value;
      drawing.replaceChildren(band(quantiles[0], quantiles[4], "wide"), band(quantiles[1], quantiles[3], "narrow"),
        h("svg:polyline", { class: "median", points: line(quantiles[2]).join(" ") }),
        h("svg:path", { class: "known", d: (Array.isArray(given) ? given : []).map((value, i) => (value === null ? "" : `M${place(value, i)}h0`)).join("") }));
      const units = new Set(columns.map((column) => column.unit ?? ""));
      say(caption, `${columns.length} columns from left to right, ${short(scale[0])} to ${short(scale[1])}${units.size === 1 && [...units][0] ? ` ${[...units][0]}` : ""}: median, and where 50 % and 90 % lie`);
    },
  };
}
