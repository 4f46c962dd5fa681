/** What is painted on slices by hand, until the server has answered it. */

const SET = 1;
const CLEARED = 2;

/**
 * Pixels of an object's slice that are set or cleared; all others stay as they are.
 *
 * What they stay as is known when the server's turn comes and not when the button is pressed: answers that
 * were on their way by then may have changed the slice.
 */
export class Edit {
  /** Of an object (null: of one that has no name yet) on a slice of a plane. */
  constructor(name, plane, slice) {
    this.name = name;
    this.axis = plane.axis;
    this.slice = slice;
    this.size = [plane.rows, plane.columns];
    this.pixels = new Uint8Array(plane.rows * plane.columns);
  }

  /** Set (1) or clear (0) pixels from `first` to before `end`, counted along the rows. */
  fill(value, first, end) {
    this.pixels.fill(value ? SET : CLEARED, first, end);
  }

  isOn(name, axis, slice) {
    return this.name === name && this.axis === axis && this.slice === slice;
  }

  /** Change a whole slice, rows by rows, and give it back. */
  applyTo(mask) {
    for (let k = 0; k < mask.length; k++) {
      if (this.pixels[k]) mask[k] = this.pixels[k] === SET ? 1 : 0;
    }
    return mask;
  }
}
