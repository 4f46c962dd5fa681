/** A box around the object on one slice: press at one corner, release at the other. */

import { pixelOf } from "./pixel.js";

export class BoxTool {
  constructor(app) {
    this.app = app;
    this.hint = "Drag a box around the object on this slice.";
    this.needs = "box";
    this.cancel();
  }

  cancel() {
    this.view = this.place = this.from = this.to = null;
    this.fixed = false;
  }

  down(view, { x, y }) {
    if (!this.app.prompts.mayChange()) return;
    this.view = view;
    this.place = this.app.prompts.at(view);
    this.from = this.to = pixelOf(view, x, y);
  }

  move(view, { x, y }) {
    if (this.view !== view) return;
    this.to = pixelOf(view, x, y);
    view.redraw();
  }

  up(view) {
    if (this.view === view) this.finish();
  }

  /** With the keyboard: the crosshair is one corner, then the other. */
  enter(view) {
    const at = pixelOf(view, ...view.plane.ofVolume(view.case.crosshair));
    const isFirst = this.view !== view || this.place.slice !== view.index;
    this.place = this.app.prompts.at(view);
    if (isFirst) {
      this.view = view;
      this.from = this.to = at;
      this.fixed = true;
      this.app.tell("First corner set. Move the crosshair with the arrow keys, then press Enter again.");
    } else {
      this.to = at;
      this.finish();
    }
    view.redraw();
  }

  finish() {
    const { view, place, from, to } = this;
    this.cancel();
    view.redraw();
    const [x0, x1] = [from[0], to[0]].sort((a, b) => a - b);
    const [y0, y1] = [from[1], to[1]].sort((a, b) => a - b);
    if (x1 - x0 < 1 || y1 - y0 < 1) return;
    this.app.prompts.box(place, [x0, y0, x1, y1]);
    this.app.look(view, (x0 + x1) / 2, (y0 + y1) / 2);
  }

  draw(view, brush) {
    if (this.view !== view || view.index !== this.place.slice) return;
    const to = this.fixed ? pixelOf(view, ...view.plane.ofVolume(view.case.crosshair)) : this.to;
    view.drawBox(brush, [...this.from, ...to], []);
    const [wide, high] = [0, 1].map((k) => Math.abs(to[k] - this.from[k]) + 1);
    const [px, py] = view.onCanvas(...to);
    const text = `${wide} × ${high}`;
    view.drawText(brush, text, px + 10, py + 12, "left");
  }
}
