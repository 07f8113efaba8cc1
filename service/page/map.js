// The latent space as a map of two dimensions: held-out cases by label, and an ellipse where the case may lie.

import { h } from "./dom.js";

const SIZE = 320;
const MARGIN = 0.06;
/** Radii of the ellipse that holds 90 % of a normal distribution of two dimensions: √χ²₂(.9). */
const NINETY = Math.sqrt(4.605);

/** What the ellipse says, by the rule that joins experts: it knows the variances of the dimensions of z alone. */
const WHERE = {
  poe: "This one lies in the ellipse (90 %).",
  poe_linear: "This one lies about the ellipse, which takes the dimensions of z for independent.",
};

export function mapOf(manifest, latent) {
  const { axes, centre, points, labels } = latent;
  const named = Object.entries(labels ?? {})[0];
  const category = named && manifest.modalities.find((modality) => modality.name === named[0]);
  const scale = scaleOf(points);
  const canvas = h("canvas", { width: SIZE * 2, height: SIZE * 2, "aria-hidden": "true" });
  const ellipse = h("svg:ellipse", { class: "where", r: 0 });
  const dot = h("svg:circle", { class: "middle", r: 3.5 });
  const drawing = h("svg:svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": "Where this case lies among held-out cases" }, ellipse, dot);
  const legend = h("ul", { class: "legend", "aria-label": "Colours of the map" },
    (category?.labels ?? []).slice(0, 20).map((label, i) => h("li", { class: `c${i % 10}` }, label)));
  const element = h("article", { class: "panel answer map", "aria-labelledby": "answer-map" },
    h("header", {}, h("h3", { id: "answer-map" }, "map"), h("span", { class: "kind" }, "where this case lies")),
    h("figure", {}, h("div", { class: "sheet" }, canvas, drawing),
      h("figcaption", {}, `${points.length} cases that the model has not learned from${category ? `, by ${category.name}` : ""}. ${WHERE[manifest.fusion] ?? WHERE.poe} The ellipse shrinks as more is known.`)), legend);

  let before = "";

  function draw() {
    const context = canvas.getContext("2d");
    const style = getComputedStyle(element);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.globalAlpha = 0.65;
    points.forEach(([x, y], i) => {
      context.fillStyle = style.getPropertyValue(`--c${named ? named[1][i] % 10 : 0}`);
      context.beginPath();
      context.arc(2 * scale.x(x), 2 * scale.y(y), 3.2, 0, 7);
      context.fill();
    });
  }

  // Colours are known once the element is on the page, and others when the light is switched.
  requestAnimationFrame(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return {
    element,
    show(mu, logVar, names) {
      // It shrinks before one's eyes when a view is added; while one draws, it is where it is.
      drawing.classList.toggle("gliding", names.join() !== before);
      before = names.join();
      const [u, v] = axes;
      const sum = (term) => mu.reduce((total, _, d) => total + term(d), 0);
      const x = sum((d) => u[d] * (mu[d] - centre[d]));
      const y = sum((d) => v[d] * (mu[d] - centre[d]));
      const cov = (a, b) => sum((d) => a[d] * b[d] * Math.exp(logVar[d]));
      const { major, minor, angle } = principal(cov(u, u), cov(u, v), cov(v, v));
      const degrees = (-angle * 180) / Math.PI; // y grows downwards on the screen
      Object.assign(ellipse.style, {
        rx: `${NINETY * major * scale.unit}px`,
        ry: `${NINETY * minor * scale.unit}px`,
        transform: `translate(${scale.x(x)}px, ${scale.y(y)}px) rotate(${degrees}deg)`,
      });
      dot.style.transform = `translate(${scale.x(x)}px, ${scale.y(y)}px)`;
    },
  };
}

/** One scale for both axes, so that distances on the map are distances. */
function scaleOf(points) {
  const range = (axis) => {
    const sorted = points.map((point) => point[axis]).sort((a, b) => a - b);
    return [sorted[Math.floor(sorted.length * 0.005)], sorted[Math.ceil(sorted.length * 0.995) - 1]];
  };
  const [[left, right], [bottom, top]] = [range(0), range(1)];
  const unit = (SIZE * (1 - 2 * MARGIN)) / (Math.max(right - left, top - bottom) || 1);
  return {
    unit,
    x: (value) => SIZE / 2 + unit * (value - (left + right) / 2),
    y: (value) => SIZE / 2 - unit * (value - (bottom + top) / 2),
  };
}

/** Half axes (standard deviations) and direction of a covariance [[a, b], [b, c]]. */
function principal(a, b, c) {
  const middle = (a + c) / 2;
  const offset = Math.hypot((a - c) / 2, b);
  return { major: Math.sqrt(middle + offset), minor: Math.sqrt(Math.max(0, middle - offset)), angle: Math.atan2(2 * b, a - c) / 2 };
}
