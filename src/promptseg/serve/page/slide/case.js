/**
 * The slide that is open: its session's state and the outlines of its objects.
 *
 * It has what `Objects` and `History` ask of a case.
 */

import { Refusal } from "../api.js";
import { Opened } from "../opened.js";
import { Retry } from "../retry.js";
import { SlideApi } from "./api.js";

const ALIVE_MS = 30_000;

export class SlideCase extends Opened {
  constructor(state, tell) {
    super(new SlideApi(state.session), state, tell);
    this.api.measurements = async () => this.sizes;
    this.locked = new Set();
    this.allHidden = false;
    this.paths = new Map(); // outlines by number
    this.retry = new Retry(() => this.outlines(), (refusal) => this.fault(refusal)); // of the outlines
    this.take(state);
    this.alive = setInterval(() => this.api.state().catch((refusal) => this.fault(refusal)), ALIVE_MS);
  }

  get slide() {
    return this.state.slide;
  }

  get busy() {
    return this.waiting > 0;
  }

  /** Areas by object, as measurements have them. */
  get sizes() {
    const entries = this.state.objects.map(({ name, area_px: voxels, area_mm2 }) => [name, { voxels, area_mm2 }]);
    return Object.fromEntries(entries);
  }

  isVisible(name) {
    return !this.allHidden && !this.hidden.has(name);
  }

  take(state) {
    const objects = state.objects.map((object) => ({ ...object, label: object.prompted ? object.label : null }));
    this.state = { ...state, objects, following: [] };
    this.revision += 1;
    const names = new Set(objects.map((object) => object.name));
    for (const kept of [this.hidden, this.locked]) for (const name of kept) if (!names.has(name)) kept.delete(name);
    if (state.warning && state.warning !== this.warned) this.tell(state.warning, "warning");
    this.warned = state.warning;
  }

  /** Fetch the outlines that are not here yet; what fails and may pass is fetched again. */
  async outlines() {
    const wanted = this.state.objects.filter(({ outline, empty }) => !empty && !this.paths.has(outline));
    try {
      await Promise.all(wanted.map(({ outline }) => this.fetchOutline(outline)));
      this.retry.succeeded();
    } catch (refusal) {
      this.retry.failed(refusal);
    }
    this.viewed();
    const current = new Set(this.state.objects.map(({ outline }) => outline));
    for (const key of this.paths.keys()) {
      if (this.paths.size <= 64) break;
      if (!current.has(key)) this.paths.delete(key);
    }
  }

  async fetchOutline(outline) {
    const { polygons } = await this.api.outline(outline);
    const path = new Path2D();
    for (const ring of polygons.flat()) {
      ring.forEach(([x, y], k) => (k ? path.lineTo(x, y) : path.moveTo(x, y)));
      path.closePath();
    }
    this.paths.set(outline, path);
  }

  async apply(state) {
    this.take(state);
    await this.outlines();
  }

  /** Prompt the object that was current when the prompt was begun; it is shown until it is answered. */
  prompt({ object = this.currentSoon(), ...prompt }, view) {
    const done = this.act(async () => {
      const name = await object;
      if (this.locked.has(name)) {
        throw new Refusal(`“${name}” is locked. Unlock it, or begin another object (E).`, 423);
      }
      this.hidden.delete(name);
      return this.api.prompt({ ...prompt, ...view, ...(name === null ? {} : { object: name }) });
    });
    return this.awaiting(prompt, done);
  }

  ended(detail) {
    if (!this.over) super.ended(detail);
    this.over = true;
  }

  stop() {
    clearInterval(this.alive);
    this.retry.stop();
  }
}
