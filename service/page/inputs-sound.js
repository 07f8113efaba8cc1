// A sound as an observation: a file, the microphone, or one that the model made.

import { button, droppable, h, upload } from "./dom.js";
import { base64, contentOf, fitting, whole } from "./numbers.js";
import { paint } from "./pixels.js";
import { decode, play, record, spectrogram, toWav } from "./sound.js";

export function soundInput(modality, changed) {
  const recipe = modality.spectrogram;
  const view = h("canvas", { class: "pixels spectrum", role: "img", "aria-label": `Spectrogram of ${modality.name}` });
  const text = h("p", { class: "note" });
  const playing = button("▶ Play", listen, { "aria-label": `Play ${modality.name}`, disabled: true });
  const recording = button("● Record", toggle, { "aria-label": `Record ${modality.name}` });
  let bytes = null; // or what fetches them
  let recorder = null;

  const say = (error) => (text.textContent = error.message);

  function blank() {
    const [bands, frames] = modality.shape;
    paint(view, Array.from({ length: bands }, () => new Array(frames).fill(0)), [0, 255], true);
  }

  async function listen() {
    try {
      if (typeof bytes === "function") bytes = await bytes();
      await play(bytes);
    } catch (error) {
      say(error);
    }
  }

  async function use(content, file, what) {
    bytes = content;
    text.textContent = what;
    changed({ value: base64(content), file });
    blank();
    playing.disabled = false;
    try {
      if (recipe) paint(view, spectrogram(recipe, await decode(content, recipe.rate)).reverse(), [0, 255], true);
    } catch {
      playing.disabled = true; // the browser cannot read it; whether the service can, it will say
    }
  }

  const chosen = async (file) => use(await contentOf(file), file.name, file.name);

  async function toggle() {
    if (recorder) return recorder.stop();
    try {
      recorder = await record(recipe.samples / recipe.rate + 1.5);
      recording.textContent = "■ Stop";
      text.textContent = "Speak now …";
      const { samples, rate } = await recorder.finished;
      await use(toWav(samples, rate), undefined, "recorded");
    } catch (error) {
      say(error);
    } finally {
      recorder = null;
      recording.textContent = "● Record";
    }
  }

  function clear() {
    bytes = null;
    playing.disabled = true;
    text.textContent = "";
    blank();
    changed(null);
  }

  const means = recipe
    ? [recording, playing, upload("Upload or drop a sound", `Upload a sound as ${modality.name}`, "audio/*,.wav,.flac,.ogg", chosen)]
    : [upload("Upload a .npy file", `Upload ${modality.name}`, ".npy", chosen)];
  const element = h("div", {}, view, text,
    h("div", { class: "buttons" }, means, button("Clear", clear, { "aria-label": `Clear ${modality.name}` })));
  droppable(element, chosen);
  blank();
  return {
    element,
    clear,
    /** Takes a WAV that the service made, or a row with what fetches its sound. */
    show(row, sound) {
      if (!row) return use(sound, undefined, "");
      bytes = sound;
      playing.disabled = !sound;
      text.textContent = "";
      paint(view, [...row].reverse(), modality.range ?? [0, whole(modality.dtype) ? 255 : 1], true);
      changed({ value: fitting(modality, row) });
    },
    wantsSound: Boolean(recipe),
  };
}
