/** Prompts on their way to the server, for the current object. */

import { Refusal } from "./api.js";
import { rleOf } from "./masks.js";

/** A prompt as the state of a session has it, to be shown until it is answered. */
function shown({ axis = "z", slice = 0, box, box3d, points, marker }) {
  return { axis, slice, box, box3d, points, ...marker, kind: box3d ? "box3d" : "" };
}

const lockNote = (name) => `“${name}” is locked. Unlock it, or press E for another object.`;

/** Let an object be seen that is about to change. */
function reveal(work, name) {
  if (name === null || work.isVisible(name)) return;
  work.hidden.delete(name);
  work.allHidden = false;
  work.viewed();
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
    if (work.locked.has(name)) {
      tell(lockNote(name), "warning");
      return false;
    }
    reveal(work, name);
    return true;
  }

  /**
   * Where a prompt belongs that is begun now: the slice that a view shows, and the object that is current
   * once what was asked before is done. What is drawn stays there, whatever is looked at when it ends.
   */
  at(view) {
    return { axis: view.axis, slice: view.index, object: this.app.case.currentSoon() };
  }

  /** Send a prompt when its turn comes; `late(name)` gives the fields that are known only then, of the object's name. */
  send({ object, ...body }, late = () => ({})) {
    const { case: work, spread } = this.app;
    if (!work) return Promise.resolve(false);
    const soon = object ?? work.currentSoon();
    const done = work.act(async (since) => {
      const name = await soon;
      if (work.locked.has(name)) throw new Refusal(lockNote(name), 423);
      reveal(work, name);
      const of = name === null ? {} : { object: name };
      return work.api.prompt({ ...of, spread, ...body, ...late(name), since });
    });
    return work.awaiting(shown(body), done);
  }

  onSlice({ axis, slice, object }, fields, late) {
    const where = this.app.case.isVolume ? { axis, slice } : {};
    return this.send({ ...where, object, ...fields }, late);
  }

  /** Words, for a new object under their name; the slice of the view is answered first. */
  words(view, text) {
    const { case: work, spread } = this.app;
    if (!work) return Promise.resolve(false);
    const where = work.isVolume ? { axis: view.axis, slice: view.index } : {};
    return work.act((since) => work.api.prompt({ ...where, text, spread, since }));
  }

  /** [x0, y0, x1, y1], both ends inside. */
  box(place, box) {
    return this.onSlice(place, { box });
  }

  point(place, x, y, inside) {
    return this.onSlice(place, { points: [[x, y, inside ? 1 : 0]] });
  }

  /** The whole slice with an edit on it, as the answer there or (`asDrawn` false) as a mask prompt. */
  edit(place, edit, asDrawn = true) {
    const { case: work } = this.app;
    const { axis, slice, size } = edit;
    const late = (name) => ({ mask: { size, rle: rleOf(edit.applyTo(work.sliceOf(name, axis, slice))) } });
    return this.onSlice(place, { as_drawn: asDrawn }, late);
  }

  /** A whole slice anywhere, as the answer of that slice alone. */
  maskAt(axis, slice, mask) {
    const plane = this.app.case.plane(axis);
    const size = [plane.rows, plane.columns];
    return this.send({ axis, slice, mask: { size, rle: rleOf(mask) }, spread: false });
  }

  marker(place, long, short) {
    return this.onSlice(place, { marker: short ? { long, short } : { long } });
  }

  /** [x0, y0, z0, x1, y1, z1] of the image; it is answered along z. */
  box3d(bounds) {
    return this.send({ axis: "z", box3d: bounds });
  }
}
