/** Window and level: which values are black and which are white. */

/** The window of an image when it is opened: as the model sees it, or else all its values. */
export function firstWindow(image) {
  const { lower, upper } = image.window;
  const [low, high] = lower === null || upper === null ? image.range : [lower, upper];
  return { lower: low, upper: high > low ? high : low + 1 };
}

/** A window by width and level. */
export const byLevel = (width, level) => ({ lower: level - width / 2, upper: level + width / 2 });

/** `{width, level}` of a window. */
export const levelOf = ({ lower, upper }) => ({
  width: upper - lower,
  level: (upper + lower) / 2,
});

/** The window after a drag: sideways changes the width, upwards makes the image brighter. */
export function dragged(window, dx, dy, range) {
  const { width, level } = levelOf(window);
  const pace = Math.max(Math.min(width, range[1] - range[0]), (range[1] - range[0]) / 1000) / 300;
  return byLevel(Math.max(width + dx * pace, (range[1] - range[0]) / 5000), level + dy * pace);
}

/** Draw values of a slice, rows by rows, into an `ImageData` of its size. Colours stay as they are. */
export function paint(values, colour, { lower, upper }, into) {
  const pixels = into.data;
  if (colour) {
    for (let from = 0, to = 0; from < values.length; from += 3, to += 4) {
      pixels[to] = values[from];
      pixels[to + 1] = values[from + 1];
      pixels[to + 2] = values[from + 2];
      pixels[to + 3] = 255;
    }
    return;
  }
  const words = new Uint32Array(pixels.buffer);
  const scale = 255 / (upper - lower);
  for (let k = 0; k < values.length; k++) {
    const gray = Math.max(0, Math.min(255, (values[k] - lower) * scale)) | 0;
    words[k] = 0xff000000 | (gray << 16) | (gray << 8) | gray;
  }
}
