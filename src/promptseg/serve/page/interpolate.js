/** Slices between two that were drawn by hand, from the distances to their outlines. */

import { wholeSlice } from "./masks.js";

const FAR = 1e9;

/** Squared distance to the nearest set entry along a line (Felzenszwalb and Huttenlocher, 2012). */
function line(f, n, spacing, out) {
  const v = new Int32Array(n);
  const z = new Float64Array(n + 1);
  const s2 = spacing * spacing;
  let k = 0;
  z[0] = -Infinity;
  z[1] = Infinity;
  for (let q = 1; q < n; q++) {
    let s;
    do {
      const p = v[k];
      s = (f[q] - f[p] + s2 * (q * q - p * p)) / (2 * s2 * (q - p));
    } while (s <= z[k] && --k >= 0);
    k = Math.max(k + 1, 0);
    v[k] = q;
    z[k] = k ? s : -Infinity;
    z[k + 1] = Infinity;
  }
  for (let q = 0, j = 0; q < n; q++) {
    while (z[j + 1] < q) j++;
    out[q] = s2 * (q - v[j]) ** 2 + f[v[j]];
  }
}

/** Squared distances of all pixels to the pixels of `mask` that equal `value`. */
function squared(mask, rows, columns, [dx, dy], value) {
  const found = Float64Array.from(mask, (m) => (m === value ? 0 : FAR));
  const column = new Float64Array(rows);
  const done = new Float64Array(Math.max(rows, columns));
  for (let c = 0; c < columns; c++) {
    for (let r = 0; r < rows; r++) column[r] = found[r * columns + c];
    line(column, rows, dy, done);
    for (let r = 0; r < rows; r++) found[r * columns + c] = done[r];
  }
  for (let r = 0; r < rows; r++) {
    line(found.slice(r * columns, (r + 1) * columns), columns, dx, done);
    found.set(done.subarray(0, columns), r * columns);
  }
  return found;
}

/** Signed distance: negative inside. */
export function signedDistance(mask, rows, columns, pixel) {
  const outside = squared(mask, rows, columns, pixel, 1);
  const inside = squared(mask, rows, columns, pixel, 0);
  return outside.map((value, k) => Math.sqrt(value) - Math.sqrt(inside[k]));
}

/**
 * Masks of the slices between two (shape-based interpolation, Raya and Udupa 1990).
 *
 * `first` and `last` are whole slices, rows by rows, `count` slices lie between them; gives `count` masks.
 */
export function between(first, last, count, rows, columns, pixel) {
  const [from, to] = [first, last].map((mask) => signedDistance(mask, rows, columns, pixel));
  return Array.from({ length: count }, (_, k) => {
    const share = (k + 1) / (count + 1);
    return Uint8Array.from(from, (value, at) => (value * (1 - share) + to[at] * share < 0 ? 1 : 0));
  });
}

/**
 * Fill the slices between those of the current object that were drawn by hand along one axis.
 *
 * Every filled slice is a mask prompt of its own, kept on its slice.
 */
export async function interpolate(app) {
  const { case: work, tell } = app;
  if (!work || !work.isVolume) return;
  await work.queue; // strokes that have no answer yet count, too
  if (work !== app.case) return;
  const object = work.current;
  const drawn = object ? object.prompts.filter((p) => p.kind === "mask" && p.as_drawn) : [];
  const axis = drawn.length ? drawn[drawn.length - 1].axis : null;
  const slices = [...new Set(drawn.filter((p) => p.axis === axis).map((p) => p.slice))];
  slices.sort((a, b) => a - b);
  const gaps = slices.slice(1).map((last, k) => [slices[k], last]).filter(([a, b]) => b - a > 1);
  if (!gaps.length) {
    tell("Paint the object on two slices (S or L) with others in between, then press I.", "warning");
    return;
  }
  if (!app.prompts.mayChange()) return;
  const view = app.views.find((v) => v.axis === axis);
  const { rows, columns, pixel } = view.plane;
  const mask = work.masks.get(object.name);
  for (const [first, last] of gaps) {
    const [from, to] = [first, last].map((k) => wholeSlice(mask && mask.slice(axis, k), rows, columns));
    const masks = between(from, to, last - first - 1, rows, columns, pixel);
    for (const [k, found] of masks.entries()) {
      const done = await app.prompts.maskAt(axis, first + 1 + k, found);
      if (!done) return;
    }
  }
  tell(`Filled between slices ${slices.map((k) => k + 1).join(", ")}.`);
}
