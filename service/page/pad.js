// A surface to draw on: with a mouse, a finger, a pen, or the arrow keys.

import { h } from "./dom.js";

const SIZE = 560; // pixels of the canvas; CSS shows it at half of that or less
const STEP = 0.04;

export class Pad {
  /**
   * Arguments: label, for those who hear the page; aspect, width by height; onchange, called after every
   * movement of the pen. `strokes` are lists of [x, y] between 0 and 1, y downwards.
   */
  constructor(label, aspect, onchange) {
    this.strokes = [];
    this.below = null;
    this.onchange = onchange;
    this.element = h("canvas", {
      class: "pad",
      width: SIZE,
      height: Math.round(SIZE / aspect),
      tabindex: "0",
      role: "img",
      "aria-label": `${label}. With keys: arrows move the pen, space lowers and lifts it.`,
    });
    this.context = this.element.getContext("2d");
    this.cursor = { x: 0.5, y: 0.5, down: false, shown: false };
    this.element.addEventListener("pointerdown", (event) => this.#down(event));
    this.element.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) this.element.addEventListener(end, () => this.#up());
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("blur", () => this.#hideCursor());
    this.render();
  }

  set(strokes) {
    this.strokes = strokes;
    this.below = null;
    this.render();
  }

  /** Shows a picture until the first stroke. */
  lay(canvas) {
    this.below = canvas;
    this.render();
  }

  undo() {
    this.set(this.strokes.slice(0, -1));
    this.onchange();
  }

  render() {
    const { context, element } = this;
    context.fillStyle = "#000";
    context.fillRect(0, 0, element.width, element.height);
    if (!this.strokes.length && this.below) {
      context.imageSmoothingEnabled = false;
      context.drawImage(this.below, 0, 0, element.width, element.height);
    } else if (!this.strokes.length) {
      Object.assign(context, { fillStyle: "#8d949f", font: `${SIZE / 16}px system-ui, sans-serif`, textAlign: "center" });
      context.fillText("draw here", element.width / 2, element.height / 2);
    }
    for (const stroke of this.strokes) this.#ink(stroke);
    if (this.cursor.shown) this.#renderCursor();
  }

  #ink(places) {
    const { context, element } = this;
    Object.assign(context, { strokeStyle: "#fff", lineWidth: SIZE * 0.07, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    for (const [x, y] of [places[0], ...places]) context.lineTo(x * element.width, y * element.height);
    context.stroke();
  }

  #at(event) {
    const within = (value) => Math.min(1, Math.max(0, value));
    return [within((event.clientX - this.box.left) / this.box.width), within((event.clientY - this.box.top) / this.box.height)];
  }

  #down(event) {
    if (event.button) return;
    this.box = this.element.getBoundingClientRect(); // stays where it is as long as the pen is down
    this.element.setPointerCapture(event.pointerId);
    this.drawing = true;
    this.cursor.shown = false;
    this.strokes.push([this.#at(event)]);
    this.#changed();
  }

  #move(event) {
    if (!this.drawing) return;
    // A fast pen moves several times between two frames; all of its places are there.
    const places = event.getCoalescedEvents?.() ?? [];
    const stroke = this.strokes.at(-1);
    const known = stroke.length;
    stroke.push(...(places.length ? places : [event]).map((place) => this.#at(place)));
    this.#ink(stroke.slice(known - 1)); // the rest is there already
    this.onchange();
  }

  #up() {
    this.drawing = false;
  }

  #key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const { cursor } = this;
    if (move) {
      cursor.x = Math.min(0.98, Math.max(0.02, cursor.x + STEP * move[0]));
      cursor.y = Math.min(0.98, Math.max(0.02, cursor.y + STEP * move[1]));
      if (cursor.down) this.strokes.at(-1).push([cursor.x, cursor.y]);
    } else if (event.key === " ") {
      cursor.down = !cursor.down;
      if (cursor.down) this.strokes.push([[cursor.x, cursor.y]]);
    } else return;
    event.preventDefault();
    cursor.shown = true;
    if (cursor.down) this.#changed();
    else this.render();
  }

  #hideCursor() {
    Object.assign(this.cursor, { shown: false, down: false });
    this.render();
  }

  #renderCursor() {
    const { context, element, cursor } = this;
    context.beginPath();
    context.arc(cursor.x * element.width, cursor.y * element.height, SIZE * 0.045, 0, 7);
    Object.assign(context, { strokeStyle: cursor.down ? "#ffb454" : "#7aa7ff", lineWidth: 6 });
    context.stroke();
  }

  #changed() {
    this.render();
    this.onchange();
  }
}
