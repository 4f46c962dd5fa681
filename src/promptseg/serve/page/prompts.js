/** Prompts on their way to the server, for the current object. */

import { rleOf } from "./masks.js";

/** A prompt as the state of a session has it, to be shown until it is answered. */
function shown({ axis = "z", slice = 0, box, box3d, points, marker }) {
  return { axis, slice, box, box3d, points, ...marker, kind: box3d ? "box3d" : "" };
}

/** Sends what the tools make. `app` has the case, the switches and `tell`. */
export class Prompts {
  constructor(app) {
    this.app = app;
  }

  /** Whether the model takes prompts of a kind: "box", "point", "mask". Masks as drawn need no model. */
  takes(kind) {
    const model = this.app.model;
    return !model || model.prompts.includes(kind);
  }

  /** Whether the current object may be changed; says so if not. */
  mayChange() {
    const { case: work, tell } = this.app;
    if (!work) return false;
    const name = work.state.current;
    if (name !== null && work.locked.has(name)) {
      tell(`“${name}” is locked. Unlock it, or press E for another object.`, "warning");
      return false;
    }
    if (name !== null && !work.isVisible(name)) {
      work.hidden.delete(name);
      work.allHidden = false;
      work.viewed();
    }
    return true;
  }

  send(body) {
    if (!this.mayChange()) return Promise.resolve(false);
    const { case: work, spread } = this.app;
    const name = work.state.current;
    const fields = { ...(name === null ? {} : { object: name }), spread, ...body };
    return work.awaiting(shown(body), work.act((since) => work.api.prompt({ ...fields, since })));
  }

  onSlice(view, fields) {
    const where = this.app.case.isVolume ? { axis: view.axis, slice: view.index } : {};
    return this.send({ ...where, ...fields });
  }

  /** Words, for a new object under their name; the slice of the view is answered first. */
  words(view, text) {
    const { case: work, spread } = this.app;
    if (!work) return Promise.resolve(false);
    const where = work.isVolume ? { axis: view.axis, slice: view.index } : {};
    return work.act((since) => work.api.prompt({ ...where, text, spread, since }));
  }

  /** [x0, y0, x1, y1], both ends inside. */
  box(view, box) {
    return this.onSlice(view, { box });
  }

  point(view, x, y, inside) {
    return this.onSlice(view, { points: [[x, y, inside ? 1 : 0]] });
  }

  /** The whole slice, rows by rows, as the answer there or (`asDrawn` false) as a mask prompt. */
  mask(view, mask, asDrawn = true, spread = this.app.spread) {
    const { rows, columns } = view.plane;
    const rle = rleOf(mask);
    return this.onSlice(view, {
      mask: { size: [rows, columns], rle }, as_drawn: asDrawn, spread,
    });
  }

  /** A whole slice anywhere, as the answer of that slice alone. */
  maskAt(axis, slice, mask) {
    const plane = this.app.case.plane(axis);
    const size = [plane.rows, plane.columns];
    return this.send({ axis, slice, mask: { size, rle: rleOf(mask) }, spread: false });
  }

  marker(view, long, short) {
    return this.onSlice(view, { marker: short ? { long, short } : { long } });
  }

  /** [x0, y0, z0, x1, y1, z1] of slices along z. */
  box3d(bounds) {
    return this.send({ axis: "z", box3d: bounds });
  }
}
