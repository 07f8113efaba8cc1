// Videos: a player of frames on canvases, the input (a GIF) and the answer (samples, mean and standard deviation).

import { button, droppable, h, say, upload } from "./dom.js";
import { base64, contentOf, extent, fitting, whole } from "./numbers.js";
import { paint, paintGrid } from "./pixels.js";

const FRAME_MS = 100;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Calls draw(frame) for one frame after the other while it plays and its button is on the page. It starts by itself,
 * unless the browser asks for reduced motion.
 */
function player(name, draw) {
  let [count, frame, timer] = [0, 0, null];
  const toggle = button("", () => set(timer === null), { "aria-label": `Play or pause ${name}`, hidden: true });

  function set(playing) {
    clearInterval(timer);
    timer = playing ? setInterval(next, FRAME_MS) : null;
    say(toggle, playing ? "❚❚ Pause" : "▶ Play");
  }

  function next() {
    if (!toggle.isConnected) return set(false);
    frame = (frame + 1) % count;
    draw(frame);
  }

  return {
    toggle,
    show(frames) {
      const first = !count;
      count = frames;
      frame = Math.min(frame, count - 1);
      toggle.hidden = count < 2;
      draw(frame);
      if (first && count > 1) set(!still.matches);
    },
    stop() {
      count = 0;
      toggle.hidden = true;
      set(false);
    },
  };
}

const rangeOf = (modality, rows) => modality.range ?? (whole(modality.dtype) ? [0, 255] : extent(rows));

export function videoInput(modality, changed) {
  const [frames, height, width] = modality.shape;
  const view = h("canvas", { class: "pixels grid", role: "img", "aria-label": `${modality.name} as it is sent`, hidden: true });
  const file = h("img", { class: "pixels grid", width, height, alt: `${modality.name} as it was uploaded`, hidden: true });
  const hint = `A GIF; ${frames} frames of ${width} × ${height} are sent`;
  const text = h("p", { class: "note" }, hint);
  let row = [];
  const film = player(modality.name, (frame) => paint(view, row[frame], rangeOf(modality, row)));

  function only(shown) {
    for (const element of [view, file]) element.hidden = element !== shown;
    if (shown !== view) film.stop();
    URL.revokeObjectURL(file.src);
  }

  /** The file itself is sent, so that the service reads it as it reads any other client's. */
  async function chosen(picked) {
    only(file);
    file.src = URL.createObjectURL(picked);
    text.textContent = picked.name;
    changed({ value: base64(await contentOf(picked)), file: picked.name });
  }

  const element = h("div", {}, h("div", { class: "stage" }, view, file, h("div", { class: "beside" }, text)),
    h("div", { class: "buttons" }, film.toggle,
      button("Clear", clear, { "aria-label": `Clear ${modality.name}` }),
      upload("Upload or drop a GIF", `Upload a video as ${modality.name}`, "image/gif", chosen)));
  droppable(element, chosen);

  function clear() {
    only(null);
    text.textContent = hint;
    changed(null);
  }

  return {
    element,
    clear,
    show(shown) {
      only(view);
      row = shown;
      film.show(row.length);
      text.textContent = "";
      changed({ value: fitting(modality, row) });
    },
  };
}

/** N samples in a grid, the mean and the standard deviation, all at the same frame. */
export function videoAnswer(modality) {
  const canvas = (label, more = "") => h("canvas", { class: `pixels ${more}`, role: "img", "aria-label": `${label} of ${modality.name}` });
  const [samples, mean, std] = [canvas("Samples", "grid"), canvas("Mean"), canvas("Standard deviation")];
  const caption = h("figcaption", {});
  let target;
  const film = player(`the answer about ${modality.name}`, (frame) => {
    const [low, high] = rangeOf(modality, target.mean);
    const draws = target.samples.map((clip) => clip[frame]);
    paintGrid(samples, draws, Math.ceil(Math.sqrt(draws.length)), [low, high]);
    paint(mean, target.mean[frame], [low, high]);
    const widest = (cell) => (Array.isArray(cell) ? Math.max(...cell) : cell);
    // No standard deviation of values in a range exceeds half of it.
    paint(std, target.std[frame].map((line) => line.map(widest)), [0, (high - low) / 2], true);
  });
  const figure = (view, words) => h("figure", {}, view, h("figcaption", {}, words));
  return {
    element: h("div", {},
      h("div", { class: "grids" }, h("figure", { class: "wide" }, samples, caption),
        h("div", { class: "small" }, figure(mean, "mean"), figure(std, "unsure"))),
      h("div", { class: "buttons" }, film.toggle)),
    show(shown) {
      target = shown;
      film.show(target.mean.length);
      const count = target.samples.length;
      say(caption, count === 1 ? "one sample" : `${count} samples, each as likely as the others`);
    },
  };
}
