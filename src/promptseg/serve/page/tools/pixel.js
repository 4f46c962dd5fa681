/** Places of slices as pixels. */

/** The pixel [x, y] of a view's slice that holds a point, kept inside. */
export function pixelOf(view, x, y) {
  const { columns, rows } = view.plane;
  const inside = (value, count) => Math.max(0, Math.min(count - 1, Math.round(value)));
  return [inside(x, columns), inside(y, rows)];
}

/** Whether a point lies on the slice. */
export function isInside(view, x, y) {
  const { columns, rows } = view.plane;
  return x >= -0.5 && y >= -0.5 && x < columns - 0.5 && y < rows - 0.5;
}
