/** A box in space: a rectangle on one plane, then how far it reaches, by scrolling or on another plane. */

import { place, rowsAndColumns } from "../plane.js";
import { pixelOf } from "./pixel.js";

export class Box3dTool {
  constructor(app) {
    this.app = app;
    this.hint =
      "Drag a rectangle, scroll to the object's last slice (or drag on another plane), press Enter.";
    this.needs = "box";
    this.cancel();
  }

  cancel() {
    this.view = null;
    this.ranges = null; // [low, high] per z, y, x
    this.axis = null; // along which the range is open
    for (const view of this.app.views || []) view.redraw();
  }

  down(view, { x, y }) {
    if (!view.case.isVolume) {
      this.app.tell("A picture has no third dimension: use the box (B).", "warning");
      return;
    }
    if (!this.app.prompts.mayChange()) return;
    this.view = view;
    this.from = pixelOf(view, x, y);
    this.take(view, this.from);
  }

  move(view, { x, y }) {
    if (this.view === view) this.take(view, pixelOf(view, x, y));
  }

  up(view) {
    if (this.view !== view) return;
    this.view = null;
    this.app.tell("Scroll to where the object ends, or drag on another plane; then press Enter.");
  }

  take(view, to) {
    const [row, column] = rowsAndColumns(view.axis);
    const sorted = (k) => [this.from[k], to[k]].sort((a, b) => a - b);
    if (!this.ranges) {
      this.ranges = [0, 1, 2].map(() => [view.index, view.index]);
      this.axis = view.axis;
      this.first = view.index;
    }
    this.ranges[column] = sorted(0);
    this.ranges[row] = sorted(1);
    if (this.axis !== view.axis) this.axis = null;
    for (const other of this.app.views) other.redraw();
  }

  /** The ranges, open along the axis that is scrolled. */
  reached() {
    const ranges = this.ranges.map((range) => [...range]);
    if (this.axis) {
      const now = this.app.case.index(this.axis);
      ranges[place(this.axis)] = [Math.min(this.first, now), Math.max(this.first, now)];
    }
    return ranges;
  }

  enter() {
    if (!this.ranges) return;
    const [z, y, x] = this.reached();
    this.cancel();
    this.app.prompts.box3d([x[0], y[0], z[0], x[1], y[1], z[1]]);
  }

  draw(view, brush) {
    if (!this.ranges) return;
    const [z, y, x] = this.reached();
    view.drawBox3d(brush, [x[0], y[0], z[0], x[1], y[1], z[1]]);
  }
}
