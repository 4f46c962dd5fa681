/** Clicks: inside the object with the left button, outside with the right, or as T has been pressed. */

import { inSpace, inflated, Mask } from "../masks.js";
import { isInside, pixelOf } from "./pixel.js";

const QUICK_MS = 100;
const REST_MS = 80;

export class PointTool {
  constructor(app) {
    this.app = app;
    this.hint = "Click inside the object; right-click (or T, then click) what does not belong to it.";
    this.needs = "point";
    this.took = [];
  }

  cancel() {
    clearTimeout(this.resting);
    for (const view of this.app.views) view.preview = null;
  }

  up(view, { x, y }, event) {
    this.click(view, x, y, this.app.inside !== (event.altKey || event.ctrlKey));
  }

  alternate(view, { x, y }) {
    this.click(view, x, y, !this.app.inside);
  }

  enter(view) {
    this.click(view, ...view.plane.ofVolume(view.case.crosshair), this.app.inside);
  }

  click(view, x, y, inside) {
    if (!isInside(view, x, y)) return;
    this.cancel();
    const at = pixelOf(view, x, y);
    this.app.prompts.point(this.app.prompts.at(view), ...at, inside);
    this.app.look(view, ...at);
  }

  /** Show what a click would give, as long as answers come quickly. */
  hover(view, { x, y }) {
    clearTimeout(this.resting);
    if (view.preview) {
      view.preview = null;
      view.redraw();
    }
    const { case: work, preview } = this.app;
    if (!preview || work.busy || !isInside(view, x, y)) return;
    if (work.current && work.locked.has(work.current.name)) return;
    this.resting = setTimeout(() => this.show(view, pixelOf(view, x, y)), REST_MS);
  }

  async show(view, [x, y]) {
    const { case: work } = this.app;
    const index = view.index;
    const where = work.isVolume ? { axis: view.axis, slice: index } : {};
    const object = work.state.current === null ? {} : { object: work.state.current };
    const begun = performance.now();
    let found;
    try {
      const points = [[x, y, this.app.inside ? 1 : 0]];
      found = await work.api.preview({ ...where, ...object, points });
    } catch {
      return; // the click itself will say why
    }
    this.took = [...this.took.slice(-4), performance.now() - begun];
    if (this.took.length === 5 && [...this.took].sort((a, b) => a - b)[2] > QUICK_MS) {
      this.took = [];
      this.app.stopPreview();
      return;
    }
    if (!found.bits || work !== this.app.case || work.busy || view.index !== index) return;
    const mask = new Mask();
    mask.write(inSpace(found.region), await inflated(found.bits));
    view.preview = { index, crop: mask.slice(view.axis, index) };
    view.redraw();
  }
}
