/** Lines on a slice: the long and the short axis of an object, and the ruler. */

import { isInside } from "./pixel.js";

const SHORTEST = 1; // pixels

/** A drag from one end to the other. */
class LineTool {
  constructor(app) {
    this.app = app;
    this.view = null;
    this.line = null;
  }

  down(view, { x, y }) {
    if (!isInside(view, x, y) || !this.begin(view)) return;
    this.view = view;
    this.place = this.app.prompts.at(view);
    this.line = [[x, y], [x, y]];
  }

  /** Whether a view shows the line that is being drawn. */
  isOn(view) {
    return this.view === view && this.place.slice === view.index;
  }

  move(view, { x, y }) {
    if (!this.isOn(view) || !isInside(view, x, y)) return;
    this.line[1] = [x, y];
    view.redraw();
  }

  up(view) {
    if (this.view !== view) return;
    const [[x0, y0], [x1, y1]] = this.line;
    this.view = null;
    if (Math.hypot(x1 - x0, y1 - y0) >= SHORTEST) this.done(view, this.place, this.line);
    view.redraw();
  }

  cancel() {
    this.view = null;
  }

  lengthOf(view, line) {
    const { image } = view.case;
    return `${view.plane.distance(...line).toFixed(1)} ${image.unit === "mm" ? "mm" : "px"}`;
  }
}

/** First the long axis, then the short one; Enter does without the short one. */
export class MarkerTool extends LineTool {
  constructor(app) {
    super(app);
    this.hint = "Draw the long axis, then the short axis (Enter: without it); mark two slices.";
    this.needs = "box";
    this.long = null;
  }

  begin(view) {
    if (this.long && (this.long.view !== view || this.long.place.slice !== view.index)) this.long = null;
    return this.app.prompts.mayChange();
  }

  done(view, place, line) {
    if (this.long) {
      this.send(place, this.long.line, line);
    } else {
      this.long = { view, place, line };
      this.app.tell("Now the short axis, or press Enter to do without it.");
    }
  }

  enter(view) {
    if (!this.long || this.long.view !== view) return;
    const { slice } = this.long.place; // another one may be looked at by now
    this.send({ ...this.app.prompts.at(view), slice }, this.long.line, null);
  }

  async send(place, long, short) {
    this.long = null;
    const done = await this.app.prompts.marker(place, long, short);
    const { current } = this.app.case.state;
    const object = this.app.case.object(current);
    if (done && object && object.waiting) {
      this.app.tell(`Mark “${current}” on a second slice: it is segmented in between.`);
    }
  }

  cancel() {
    super.cancel();
    this.long = null;
  }

  draw(view, brush) {
    if (this.long && this.long.view === view && this.long.place.slice === view.index) {
      view.drawLine(brush, this.long.line, this.lengthOf(view, this.long.line));
    }
    if (this.isOn(view)) view.drawLine(brush, this.line, this.lengthOf(view, this.line));
  }
}

/** Distances; they stay until the image is left, and Esc takes those of the slice away. */
export class RulerTool extends LineTool {
  constructor(app) {
    super(app);
    this.hint = "Drag to measure a distance; Delete takes the last one away.";
    this.lines = [];
  }

  begin() {
    return true;
  }

  done(view, { axis, slice: index }, line) {
    this.lines.push({ work: view.case, axis, index, line });
  }

  remove() {
    this.lines.pop();
  }

  draw(view, brush) {
    if (this.isOn(view)) {
      view.drawLine(brush, this.line, this.lengthOf(view, this.line), "#7fe3ff");
    }
  }

  /** Drawn whatever tool is at work. */
  drawKept(view, brush) {
    for (const { work, axis, index, line } of this.lines) {
      if (work === view.case && axis === view.axis && index === view.index) {
        view.drawLine(brush, line, this.lengthOf(view, line), "#7fe3ff");
      }
    }
  }
}
