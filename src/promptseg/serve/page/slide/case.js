/**
 * The slide that is open: its session's state and the outlines of its objects.
 *
 * It has what `Objects` and `History` ask of a case. "change" is dispatched after every change of the
 * session, "view" where only what is shown is different, "ended" when the session is over.
 */

import { Refusal } from "../api.js";
import { SlideApi } from "./api.js";

const ALIVE_MS = 30_000;

export class SlideCase extends EventTarget {
  constructor(state, tell) {
    super();
    this.api = new SlideApi(state.session);
    this.api.measurements = async () => this.sizes;
    this.tell = tell;
    this.revision = 0;
    this.waiting = 0;
    this.queue = Promise.resolve();
    this.asked = new Set(); // prompts that have no answer yet
    this.hidden = new Set();
    this.locked = new Set();
    this.allHidden = false;
    this.paths = new Map(); // outlines by number
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

  /** Fetch the outlines that are not here yet. */
  async outlines() {
    const wanted = this.state.objects.filter(({ outline, empty }) => !empty && !this.paths.has(outline));
    await Promise.all(wanted.map(async ({ outline }) => {
      const { polygons } = await this.api.outline(outline);
      const path = new Path2D();
      for (const ring of polygons.flat()) {
        ring.forEach(([x, y], k) => (k ? path.lineTo(x, y) : path.moveTo(x, y)));
        path.closePath();
      }
      this.paths.set(outline, path);
    }));
    const current = new Set(this.state.objects.map(({ outline }) => outline));
    for (const key of this.paths.keys()) {
      if (this.paths.size <= 64) break;
      if (!current.has(key)) this.paths.delete(key);
    }
  }

  /** Do something on the server and show what it changed; gives whether it was done. */
  act(send) {
    this.waiting += 1;
    this.changed();
    const done = this.queue.then(async () => {
      try {
        this.take(await send());
        await this.outlines();
        return true;
      } catch (refusal) {
        this.fault(refusal);
        return false;
      } finally {
        this.waiting -= 1;
        this.changed();
      }
    });
    this.queue = done;
    return done;
  }

  /** Prompt the current object; the prompt is shown until it is answered. */
  async prompt(prompt, view) {
    const { current, objects } = this.state;
    if (current !== null && this.locked.has(current)) {
      this.tell(`“${current}” is locked. Unlock it, or begin another object (E).`, "warning");
      return false;
    }
    if (objects.length && this.hidden.has(current)) this.hidden.delete(current);
    this.asked.add(prompt);
    this.viewed();
    try {
      return await this.act(() => this.api.prompt({ ...prompt, ...view }));
    } finally {
      this.asked.delete(prompt);
      this.viewed();
    }
  }

  viewed() {
    this.dispatchEvent(new Event("view"));
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  fault(refusal) {
    if (!(refusal instanceof Refusal)) {
      console.error(refusal);
      this.tell(`The page made a mistake: ${refusal.message}. Reload it; nothing is lost.`, "error");
    } else if (refusal.status === 410 || refusal.status === 404) {
      if (!this.over) this.dispatchEvent(new CustomEvent("ended", { detail: refusal.message }));
      this.over = true;
    } else {
      this.tell(refusal.message, refusal.status >= 500 || refusal.status === 0 ? "error" : "warning");
    }
  }

  stop() {
    clearInterval(this.alive);
  }
}
