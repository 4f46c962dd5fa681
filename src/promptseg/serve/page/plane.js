/**
 * A plane of an image: how slices along an axis lie on the screen, in pure numbers.
 *
 * Arrays are (z, y, x). A slice has rows and columns (docs/server.md, "Coordinates"); on the screen it
 * lies as radiologists expect it, the patient's right on the left, anterior and superior at the top, as
 * far as the sides of the image tell. Screen distances are millimetres, or pixels where there are none.
 */

export const AXES = ["z", "y", "x"];

/** Positions in (z, y, x) of the rows and the columns of slices along `axis`. */
export const rowsAndColumns = (axis) => ({ z: [1, 2], y: [0, 2], x: [0, 1] })[axis];

/** Position of an axis in (z, y, x). */
export const place = (axis) => AXES.indexOf(axis);

const PAIR = { R: "RL", L: "RL", A: "AP", P: "AP", S: "SI", I: "SI" };
const FIRST = { RL: "R", AP: "A", SI: "S" };
const ACROSS = { RL: 0, AP: 1, SI: 2 }; // what lies across comes before what lies upright
const NAMES = { "AP RL": "Axial", "RL SI": "Coronal", "AP SI": "Sagittal" };

export class Plane {
  /**
   * Along `axis` of an image as `state.image` describes it.
   *
   * `flipX` and `flipY` turn columns and rows around, `transposed` puts columns upright; `sides` are the
   * letters at the left, right, top and bottom of the screen, or null.
   */
  constructor(image, axis) {
    const shape = image.kind === "volume" ? image.shape : [1, ...image.shape];
    const spacing = [image.spacing[2] ?? 1, image.spacing[1], image.spacing[0]];
    const [row, column] = rowsAndColumns(axis);
    this.axis = axis;
    this.count = shape[place(axis)];
    this.rows = shape[row];
    this.columns = shape[column];
    this.step = spacing[place(axis)];
    this.pixel = [spacing[column], spacing[row]]; // (x, y)
    const sides = image.sides && image.sides[axis];
    this.arrange(sides);
    this.name = this.named(image, sides);
  }

  arrange(sides) {
    this.transposed = this.flipX = this.flipY = false;
    this.sides = null;
    if (sides) {
      const [left, right, top, bottom] = sides;
      this.transposed = ACROSS[PAIR[left]] > ACROSS[PAIR[top]];
      this.flipX = left !== FIRST[PAIR[left]];
      this.flipY = top !== FIRST[PAIR[top]];
      const across = this.flipX ? [right, left] : [left, right];
      const upright = this.flipY ? [bottom, top] : [top, bottom];
      this.sides = this.transposed ? [...upright, ...across] : [...across, ...upright];
    }
    const [dx, dy] = this.pixel;
    this.width = this.transposed ? this.rows * dy : this.columns * dx;
    this.height = this.transposed ? this.columns * dx : this.rows * dy;
    // Array to screen: u = a x + c y + e, v = b x + d y + f; pixel centres are whole numbers.
    const ofX = this.flipX ? [-dx, (this.columns - 0.5) * dx] : [dx, 0.5 * dx];
    const ofY = this.flipY ? [-dy, (this.rows - 0.5) * dy] : [dy, 0.5 * dy];
    this.matrix = this.transposed
      ? [0, ofX[0], ofY[0], 0, ofY[1], ofX[1]]
      : [ofX[0], 0, 0, ofY[0], ofX[1], ofY[1]];
  }

  named(image, sides) {
    if (image.kind !== "volume") return "Picture";
    if (!sides) return `Slices along ${this.axis}`;
    const name = NAMES[[PAIR[sides[0]], PAIR[sides[2]]].sort().join(" ")];
    return isOblique(image.matrix) ? `${name} (oblique)` : name;
  }

  /** Screen distances [u, v] of a point [x, y] of the slice, from its upper left corner. */
  toScreen(x, y) {
    const [a, b, c, d, e, f] = this.matrix;
    return [a * x + c * y + e, b * x + d * y + f];
  }

  /** The point [x, y] of the slice at screen distances [u, v]. */
  toSlice(u, v) {
    const [a, b, c, d, e, f] = this.matrix;
    const det = a * d - b * c;
    return [(d * (u - e) - c * (v - f)) / det, (a * (v - f) - b * (u - e)) / det];
  }

  /** Where a point [x, y] of slice `index` is, as [z, y, x]. */
  toVolume(x, y, index) {
    const [row, column] = rowsAndColumns(this.axis);
    const at = [0, 0, 0];
    at[place(this.axis)] = index;
    at[row] = y;
    at[column] = x;
    return at;
  }

  /** [x, y] in its slice, of [z, y, x]. */
  ofVolume(at) {
    const [row, column] = rowsAndColumns(this.axis);
    return [at[column], at[row]];
  }

  /** Distance in the image's unit between two points of a slice. */
  distance([x0, y0], [x1, y1]) {
    return Math.hypot((x1 - x0) * this.pixel[0], (y1 - y0) * this.pixel[1]);
  }
}

/** Whether no axis of the grid runs along one of the patient's, within 2 degrees. */
function isOblique(matrix) {
  if (!matrix) return false;
  return [0, 1, 2].some((column) => {
    const along = [0, 1, 2].map((row) => matrix[row][column]);
    return Math.max(...along.map(Math.abs)) < Math.cos((2 * Math.PI) / 180) * Math.hypot(...along);
  });
}
