// Arrays as JSON gives them, and the dtypes of a manifest.

export const whole = (dtype) => !dtype.startsWith("float");

const LIMITS = { bool: [0, 1], uint8: [0, 255], int8: [-128, 127], uint16: [0, 65535], int16: [-32768, 32767] };

/** Nested numbers as the modality's dtype takes them: whole where it is, else with the digits that matter. */
export function fitting(modality, nested) {
  if (Array.isArray(nested)) return nested.map((item) => fitting(modality, item));
  if (nested === null) return null;
  if (!whole(modality.dtype)) return Number(nested.toPrecision(6));
  const [low, high] = LIMITS[modality.dtype] ?? [modality.dtype.startsWith("u") ? 0 : -Infinity, Infinity];
  return Math.min(high, Math.max(low, Math.round(nested)));
}

/** Nested numbers as a matrix: of three axes and more, the first ones are stacked. */
export function matrix(nested) {
  if (!Array.isArray(nested)) return [[nested]];
  if (!Array.isArray(nested[0])) return [nested];
  return Array.isArray(nested[0][0]) ? nested.flatMap(matrix) : nested;
}

/** The lowest and the highest value; null is skipped. */
export function extent(nested, found = [Infinity, -Infinity]) {
  if (Array.isArray(nested)) for (const item of nested) extent(item, found);
  else if (nested !== null) {
    found[0] = Math.min(found[0], nested);
    found[1] = Math.max(found[1], nested);
  }
  return found;
}

export const base64 = (bytes) => {
  let text = "";
  for (let start = 0; start < bytes.length; start += 32768)
    text += String.fromCharCode(...bytes.subarray(start, start + 32768));
  return btoa(text);
};

export const contentOf = async (file) => new Uint8Array(await file.arrayBuffer());
