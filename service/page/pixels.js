// Numbers to pixels, and strokes to the picture that a model of drawings has learned from.

/** Black, violet, orange, pale yellow: even steps of brightness, so that loud looks bright to everybody. */
const HEAT = [
  [0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164],
];

/** Red, green and blue of 256 levels. */
const GREYS = Uint8ClampedArray.from({ length: 768 }, (_, i) => Math.floor(i / 3));
const HEATS = Uint8ClampedArray.from({ length: 768 }, (_, i) => {
  const place = (Math.floor(i / 3) / 255.01) * (HEAT.length - 1);
  const [from, share] = [Math.floor(place), place % 1];
  return HEAT[from][i % 3] + share * (HEAT[from + 1][i % 3] - HEAT[from][i % 3]);
});

/** Writes matrices of numbers, or of [red, green, blue], side by side, `across` in a line, a pixel apart. */
export function paintGrid(canvas, matrices, across, [low, high], warm = false) {
  const [height, width] = [matrices[0].length, matrices[0][0].length];
  const gap = matrices.length > 1 ? 1 : 0;
  const size = { width: across * (width + gap) - gap, height: Math.ceil(matrices.length / across) * (height + gap) - gap };
  if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
  const context = canvas.getContext("2d");
  const tile = context.createImageData(width, height);
  const colours = warm ? HEATS : GREYS;
  const level = (value) => Math.min(255, Math.max(0, Math.round((255 * (value - low)) / (high - low || 1))));
  matrices.forEach((rows, index) => {
    let place = 0;
    for (const row of rows)
      for (const cell of row) {
        for (let channel = 0; channel < 3; channel++) {
          const value = Array.isArray(cell) ? (cell.length < 3 ? cell[0] : cell[channel]) : cell;
          tile.data[place++] = colours[3 * level(value) + channel];
        }
        tile.data[place++] = 255;
      }
    context.putImageData(tile, (index % across) * (width + gap), Math.floor(index / across) * (height + gap));
  });
}

/** A canvas of the size in which numbers are painted; CSS enlarges it without blurring. */
export function paint(canvas, rows, range, warm = false) {
  paintGrid(canvas, [rows], 1, range, warm);
}

// --- strokes to a picture --------------------------------------------------------------------------------

/** Ink is drawn this many times finer than the pixels, and then averaged: grey edges, as a scanner sees them. */
const FINER = 8;
/** Where nothing else is known, as in MNIST: ink within 20 of 28 pixels, and a pen about 2.8 wide. */
const USUAL = { box: 20 / 28, pen: 2.8 / 28 };
/** An edge of ink is grey and jagged: its outline seems longer by a quarter than it is. */
const JAGGED = 1.25;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/**
 * How pictures lie in their frame: { box: [width, height] of the ink, keeps: its proportions, pen }, in pixels.
 * What fills the same box in every picture has been stretched to it; elsewhere the longer side is the measure.
 */
export function framing(examples, height, width, [low, high]) {
  const side = Math.min(height, width);
  const seen = examples.map((rows) => outline(rows, low, high)).filter(Boolean);
  if (seen.length < 3) return { box: [USUAL.box * side, USUAL.box * side], keeps: true, pen: USUAL.pen * side };
  const same = (sizes) => Math.max(...sizes) - Math.min(...sizes) <= 1;
  const [widths, heights] = [seen.map(({ box }) => box[0]), seen.map(({ box }) => box[1])];
  const keeps = !(same(widths) && same(heights));
  const longest = median(seen.map(({ box }) => Math.max(...box)));
  return {
    keeps,
    box: keeps ? [Math.min(longest, width), Math.min(longest, height)] : [median(widths), median(heights)],
    pen: JAGGED * median(seen.map(({ pen }) => pen)),
  };
}

/** The box of a picture's ink, and how wide its strokes are: twice their area by the length of their edges. */
function outline(rows, low, high) {
  const at = (y, x) => ((rows[y]?.[x]?.[0] ?? rows[y]?.[x] ?? low) - low) / (high - low);
  let [area, edge] = [0, 0];
  const [xs, ys] = [[], []];
  for (let y = -1; y < rows.length; y++)
    for (let x = -1; x < rows[0].length; x++) {
      const value = at(y, x);
      area += value;
      edge += Math.hypot(at(y, x + 1) - value, at(y + 1, x) - value);
      if (value <= 0.1) continue;
      xs.push(x);
      ys.push(y);
    }
  const extent = (values) => Math.max(...values) - Math.min(...values) + 1;
  return xs.length ? { box: [extent(xs), extent(ys)], pen: (2 * area) / edge } : null;
}

/**
 * Strokes as a picture of that size, white on black, placed as those that the model has learned from: the ink's box
 * is scaled to theirs, and where its proportions are kept, its centre of mass is moved into the middle, as in MNIST
 * (LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist/). Such a model has never seen a digit in a corner, or
 * one that fills the frame. A stroke has the width of theirs, however large it was drawn.
 *
 * Arguments: strokes in 0 … 1 of the pad; frame, see framing; null leaves them where they were drawn.
 */
export function picture(strokes, height, width, frame) {
  const pen = frame?.pen ?? USUAL.pen * Math.min(height, width);
  let place = (x, y) => [x * width, y * height];
  if (frame) {
    const xs = strokes.flat().map(([x]) => x * width);
    const ys = strokes.flat().map(([, y]) => y * height);
    const [left, top] = [Math.min(...xs), Math.min(...ys)];
    const sizes = [Math.max(...xs) - left, Math.max(...ys) - top];
    const scales = scalesFor(sizes, frame);
    const placed = (dx, dy) => (x, y) => [(x * width - left) * scales[0] + dx, (y * height - top) * scales[1] + dy];
    if (!frame.keeps) {
      const middle = [width, height].map((side, axis) => (side - sizes[axis] * scales[axis]) / 2);
      return ink(strokes, placed(...middle), height, width, pen);
    }
    // Drawn once with the box in the corner to see where its mass is, and once more with that in the middle.
    const [cx, cy] = centreOfMass(ink(strokes, placed(pen, pen), height, width, pen));
    place = placed(pen + width / 2 - cx, pen + height / 2 - cy);
  }
  return ink(strokes, place, height, width, pen);
}

/** Factors of x and y: one for both where proportions are kept, and where a line has none. */
function scalesFor(sizes, { box, keeps, pen }) {
  const each = sizes.map((size, axis) => (size > 0 ? Math.max(0, box[axis] - pen) / size : Infinity));
  const both = Math.max(...sizes) > pen ? Math.min(...each) : 1;
  const thin = Math.min(...sizes) < Math.max(...sizes) / 8;
  return keeps || thin ? [both, both] : each;
}

function ink(strokes, place, height, width, pen) {
  const fine = new OffscreenCanvas(width * FINER, height * FINER);
  const context = fine.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, fine.width, fine.height);
  context.scale(FINER, FINER);
  Object.assign(context, { strokeStyle: "#fff", lineWidth: pen, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(([x, y], index) => context[index ? "lineTo" : "moveTo"](...place(x, y)));
    if (stroke.length === 1) context.lineTo(...place(...stroke[0]));
    context.stroke();
  }
  const { data } = context.getImageData(0, 0, fine.width, fine.height);
  return Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (_, column) => {
      let sum = 0;
      for (let y = row * FINER; y < (row + 1) * FINER; y++)
        for (let x = column * FINER; x < (column + 1) * FINER; x++) sum += data[4 * (y * fine.width + x)];
      return Math.round(sum / FINER ** 2);
    }),
  );
}

function centreOfMass(rows) {
  let [mass, x, y] = [0, 0, 0];
  rows.forEach((row, i) =>
    row.forEach((value, j) => {
      mass += value;
      x += value * (j + 0.5);
      y += value * (i + 0.5);
    }),
  );
  return mass ? [x / mass, y / mass] : [rows[0].length / 2, rows.length / 2];
}
