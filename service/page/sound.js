// Sounds: files and recordings to samples, samples to a WAV, and to the spectrogram that a manifest describes.

import { ask } from "./client.js";

let speaker;

/** The one way out for sound; browsers allow it only after something was clicked. */
function output() {
  speaker ??= new AudioContext();
  return speaker;
}

/** Mono samples of a sound file at that rate; throws if the browser cannot read it. */
export async function decode(bytes, rate) {
  const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes.slice().buffer);
  const mono = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++)
    sound.getChannelData(channel).forEach((value, index) => (mono[index] += value / sound.numberOfChannels));
  return mono;
}

/** Plays a sound file; resolves when it has ended. */
export async function play(bytes) {
  const context = output();
  await context.resume();
  const source = context.createBufferSource();
  source.buffer = await context.decodeAudioData(bytes.slice().buffer);
  source.connect(context.destination);
  source.start();
  await new Promise((ended) => (source.onended = ended));
}

export async function fetchWav(address, options) {
  return new Uint8Array(await (await ask(address, options)).arrayBuffer());
}

/** 16 bits, one channel. */
export function toWav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, value)), true));
  return new Uint8Array(view.buffer);
}

/** Records until stop() is called or the time is over; resolves to { samples, rate }. */
export async function record(seconds) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false } });
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
  const node = new AudioWorkletNode(context, "recorder");
  context.createMediaStreamSource(stream).connect(node);
  const pieces = [];
  node.port.onmessage = ({ data }) => pieces.push(data);
  let stop;
  const stopped = new Promise((done) => (stop = done));
  const timer = setTimeout(stop, 1000 * seconds);
  const finished = stopped.then(async () => {
    clearTimeout(timer);
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
    const samples = Float32Array.from(pieces.flatMap((piece) => [...piece]));
    return { samples: spoken(samples, context.sampleRate), rate: context.sampleRate };
  });
  return { stop, finished };
}

/**
 * The recording from where it gets loud, a tenth of its peak, to where it last was: recordings that models learn
 * from begin with the word, while people press the button first and speak then.
 */
function spoken(samples, rate) {
  const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const loud = (value) => Math.abs(value) > peak / 10;
  const margin = Math.round(0.05 * rate);
  const begin = Math.max(0, samples.findIndex(loud) - margin);
  return samples.slice(begin, samples.findLastIndex(loud) + 2 * margin);
}

/**
 * The picture of a sound, (bands, frames) of 0 … 255, by the manifest's recipe: Hann windows, power, triangles
 * on the mel scale, decibels below the peak. To look at; the service makes its own from the file.
 */
export function spectrogram(recipe, samples) {
  const { window: size, hop, frames, bands, floor_db: floor } = recipe;
  const triangles = triangleFilters(recipe);
  const hann = Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
  const decibels = Array.from({ length: bands }, () => new Array(frames));
  let peak = -Infinity;
  for (let frame = 0; frame < frames; frame++) {
    const begin = frame * hop - Math.floor(size / 2);
    const power = powerOf(hann.map((weight, i) => weight * (samples[begin + i] ?? 0)));
    triangles.forEach((triangle, band) => {
      const sum = triangle.reduce((total, weight, bin) => total + weight * power[bin], 0);
      decibels[band][frame] = 10 * Math.log10(sum + 1e-10);
      peak = Math.max(peak, decibels[band][frame]);
    });
  }
  return decibels.map((row) => row.map((value) => Math.round(255 * (1 - Math.max(floor, value - peak) / floor))));
}

/** |DFT|² up to half the rate. */
function powerOf(frame) {
  const size = frame.length;
  const cosine = Float32Array.from(frame, (_, i) => Math.cos((2 * Math.PI * i) / size));
  return Float32Array.from({ length: size / 2 + 1 }, (_, bin) => {
    let [real, imaginary] = [0, 0];
    for (let i = 0; i < size; i++) {
      real += frame[i] * cosine[(bin * i) % size];
      imaginary += frame[i] * cosine[(bin * i + size - Math.floor(size / 4)) % size];
    }
    return real * real + imaginary * imaginary;
  });
}

function triangleFilters({ window: size, rate, bands, f_min: lowest, f_max: highest }) {
  const mel = (frequency) => 2595 * Math.log10(1 + frequency / 700);
  const corner = (i) => 700 * (10 ** ((mel(lowest) + (i * (mel(highest) - mel(lowest))) / (bands + 1)) / 2595) - 1);
  return Array.from({ length: bands }, (_, band) => {
    const [low, centre, high] = [corner(band), corner(band + 1), corner(band + 2)];
    return Float32Array.from({ length: size / 2 + 1 }, (_, bin) => {
      const frequency = (bin * rate) / size;
      return Math.max(0, Math.min((frequency - low) / (centre - low), (high - frequency) / (high - centre)));
    });
  });
}
