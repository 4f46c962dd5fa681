/** Brush, eraser and lasso: the object as it is on a slice, changed by hand. */

import { Edit } from "../edits.js";
import { isInside } from "./pixel.js";

/** What the brush and the lasso have in common: the edit of a slice. */
class HandTool {
  constructor(app) {
    this.app = app;
    this.view = null;
    this.edit = null;
    this.at = null;
  }

  /** Begin to change the current object on this slice. */
  begin(view) {
    if (!this.app.prompts.mayChange()) return false;
    const { case: work } = this.app;
    this.cancel(); // of another finger
    this.view = view;
    this.place = this.app.prompts.at(view);
    const edit = new Edit(work.state.current, view.plane, this.place.slice);
    this.place.object.then((name) => {
      edit.name = name;
    });
    work.edits.add(edit);
    this.edit = edit;
    return true;
  }

  /** Whether a view shows the slice that is being changed. */
  isOn(view) {
    return this.view === view && this.place.slice === view.index;
  }

  /** Send it; what was drawn stays on the screen until the answer is there. */
  async finish() {
    const { view, place, edit, app } = this;
    const { case: work } = app;
    this.view = null;
    const asDrawn = !(app.refine && app.prompts.takes("mask"));
    await app.prompts.edit(place, edit, asDrawn);
    work.edits.delete(edit);
    view.redraw();
  }

  cancel() {
    if (this.view) {
      this.view.case.edits.delete(this.edit);
      this.view.redraw();
    }
    this.view = null;
  }
}

/** Paints discs along the way of the mouse; erases with T, or with Alt or Ctrl held. */
export class BrushTool extends HandTool {
  constructor(app) {
    super(app);
    this.hint = "Paint the object on this slice; T erases, [ and ] change the size.";
  }

  down(view, here, event) {
    if (!this.begin(view)) return;
    this.value = this.app.inside !== (event.altKey || event.ctrlKey) ? 1 : 0;
    this.last = here;
    this.stroke(here);
  }

  move(view, here) {
    this.at = { view, ...here };
    if (this.isOn(view)) {
      this.stroke(here);
      return;
    }
    this.last = here;
    view.redraw();
  }

  hover(view, here) {
    this.at = { view, ...here };
    view.redraw();
  }

  up(view) {
    if (this.view === view) this.finish();
  }

  stroke(to) {
    const [dx, dy] = this.view.plane.pixel;
    const radius = this.app.brushSize / 2;
    const [from, length] = [this.last, this.view.plane.distance([this.last.x, this.last.y], [to.x, to.y])];
    const steps = Math.max(1, Math.ceil(length / (Math.min(dx, dy) / 2)));
    for (let k = 0; k <= steps; k++) {
      const share = k / steps;
      this.disc(from.x + (to.x - from.x) * share, from.y + (to.y - from.y) * share, radius, dx, dy);
    }
    this.last = to;
    this.view.redraw();
  }

  /** Pixels whose centres lie within `radius` (in the image's unit) of a point, and the one that holds it. */
  disc(x, y, radius, dx, dy) {
    const { columns, rows } = this.view.plane;
    const [reachX, reachY] = [radius / dx, radius / dy];
    const mark = (c, r) => {
      if (c < 0 || r < 0 || c >= columns || r >= rows) return;
      this.edit.fill(this.value, r * columns + c, r * columns + c + 1);
    };
    mark(Math.round(x), Math.round(y));
    for (let r = Math.ceil(y - reachY); r <= y + reachY; r++) {
      for (let c = Math.ceil(x - reachX); c <= x + reachX; c++) {
        if (Math.hypot((c - x) * dx, (r - y) * dy) <= radius) mark(c, r);
      }
    }
  }

  draw(view, brush) {
    if (!this.at || this.at.view !== view) return;
    brush.strokeStyle = this.app.inside ? "#35d07f" : "#ff5a5f";
    brush.lineWidth = 1.25;
    brush.beginPath();
    brush.arc(this.at.px, this.at.py, (this.app.brushSize / 2) * view.scale, 0, 2 * Math.PI);
    brush.stroke();
  }
}

/** Draws around the object, or with T around what does not belong to it. */
export class LassoTool extends HandTool {
  constructor(app) {
    super(app);
    this.hint = "Draw around the object on this slice; with T, around what is to be taken away.";
  }

  down(view, { x, y }, event) {
    if (!isInside(view, x, y) || !this.begin(view)) return;
    this.value = this.app.inside !== (event.altKey || event.ctrlKey) ? 1 : 0;
    this.way = [[x, y]];
  }

  move(view, { x, y }) {
    if (!this.isOn(view)) return;
    this.way.push([x, y]);
    view.redraw();
  }

  up(view) {
    if (this.view !== view) return;
    if (this.way.length < 3) {
      this.cancel();
      return;
    }
    this.fill();
    this.finish();
  }

  /** Pixels whose centres lie inside the line, by the even-odd rule. */
  fill() {
    const { columns, rows } = this.view.plane;
    for (let r = 0; r < rows; r++) {
      const crossings = [];
      this.way.forEach(([x1, y1], k) => {
        const [x0, y0] = this.way[(k || this.way.length) - 1];
        if (y0 > r !== y1 > r) crossings.push(x0 + ((r - y0) / (y1 - y0)) * (x1 - x0));
      });
      crossings.sort((a, b) => a - b);
      for (let k = 0; k + 1 < crossings.length; k += 2) {
        const first = Math.max(0, Math.ceil(crossings[k]));
        const last = Math.min(columns - 1, Math.floor(crossings[k + 1]));
        if (last >= first) this.edit.fill(this.value, r * columns + first, r * columns + last + 1);
      }
    }
  }

  draw(view, brush) {
    if (!this.isOn(view)) return;
    brush.strokeStyle = this.value ? "#35d07f" : "#ff5a5f";
    brush.lineWidth = 1.5;
    brush.beginPath();
    for (const [x, y] of this.way) brush.lineTo(...view.onCanvas(x, y));
    brush.stroke();
  }
}
