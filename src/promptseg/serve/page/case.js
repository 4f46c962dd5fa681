/**
 * The image that is open: its session's state, its masks, and where the user looks.
 *
 * Everything that changes the session goes through `act`, one after the other, so that differences
 * between revisions always fit.
 */

import { SessionApi } from "./api.js";
import { Events } from "./events.js";
import { Mask, inSpace, inflated, wholeSlice } from "./masks.js";
import { firstWindow } from "./levels.js";
import { Opened } from "./opened.js";
import { Slices } from "./slices.js";
import { place } from "./plane.js";

export class Case extends Opened {
  /** Of the state that opening answered; `tell` takes refusals and warnings for the user. */
  constructor(state, tell) {
    super(new SessionApi(state.session), state, tell);
    this.image = state.image;
    this.masks = new Map();
    this.edits = new Set(); // that have no answer yet, in their order
    this.locked = new Set();
    this.allHidden = false;
    this.window = firstWindow(this.image);
    this.progress = { loaded: this.image.kind === "volume" ? 0 : 1, encoded: null, followed: null };
    this.shape = this.image.kind === "volume" ? this.image.shape : [1, ...this.image.shape];
    this.crosshair = this.shape.map((n) => Math.floor((n - 1) / 2));
    this.slices = new Slices(this.api, this.image, {
      onArrival: () => this.viewed(),
      onProgress: (share) => {
        this.progress.loaded = share;
        this.changed();
      },
      onFault: (refusal) => this.fault(refusal),
    });
    this.events = new Events(this.api, (event) => this.happened(event));
  }

  get isVolume() {
    return this.image.kind === "volume";
  }

  /** The axes that are shown. */
  get axes() {
    return this.isVolume ? ["z", "y", "x"] : ["z"];
  }

  plane(axis) {
    return this.slices.plane[axis];
  }

  index(axis) {
    return this.crosshair[place(axis)];
  }

  get current() {
    return this.state.objects.find((object) => object.name === this.state.current) || null;
  }

  object(name) {
    return this.state.objects.find((object) => object.name === name) || null;
  }

  isVisible(name) {
    return !this.allHidden && !this.hidden.has(name);
  }

  get busy() {
    return this.waiting > 0;
  }

  /** Resolves once everything asked is answered, on the other slices too, or the session has ended. */
  settled() {
    const isOver = () => !this.busy && !this.state.following.length;
    if (isOver()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (event) => {
        if (event.type !== "ended" && !isOver()) return;
        for (const type of ["change", "ended"]) this.removeEventListener(type, look);
        resolve();
      };
      for (const type of ["change", "ended"]) this.addEventListener(type, look);
    });
  }

  /** A whole slice of an object as the server has answered it so far, rows by rows. */
  sliceOf(name, axis, index) {
    const { rows, columns } = this.plane(axis);
    return wholeSlice(this.masks.get(name)?.slice(axis, index), rows, columns);
  }

  /** The same with the edits that have no answer yet; null where there are none. */
  edited(name, axis, index) {
    const here = [...this.edits].filter((edit) => edit.isOn(name, axis, index));
    return here.length ? here.reduce((mask, edit) => edit.applyTo(mask), this.sliceOf(name, axis, index)) : null;
  }

  /** Look at [z, y, x], kept inside the image. */
  lookAt(at) {
    const inside = at.map((v, k) => Math.max(0, Math.min(this.shape[k] - 1, Math.round(v))));
    if (inside.every((v, k) => v === this.crosshair[k])) return;
    this.crosshair = inside;
    this.viewed();
  }

  /** Look at a slice. */
  scrollTo(axis, index) {
    const at = [...this.crosshair];
    at[place(axis)] = index;
    this.lookAt(at);
    this.events.look(axis, this.index(axis));
  }

  setWindow(window) {
    this.window = window;
    this.viewed();
  }

  /** Fetch what is different from what is shown. */
  sync() {
    return this.act((since) => this.api.changes(since));
  }

  /** Stop following at once; what waits in the queue comes afterwards. */
  async cancel() {
    try {
      await this.api.cancel({});
    } catch (refusal) {
      this.fault(refusal);
    }
    return this.sync();
  }

  async apply(change) {
    if (change.since !== 0 && change.since !== this.revision) {
      change = await this.api.changes(this.revision);
    }
    const packed = await Promise.all(change.regions.map((entry) => inflated(entry.bits)));
    if (change.since === 0) this.masks.clear();
    change.regions.forEach((entry, k) => {
      if (!this.masks.has(entry.object)) this.masks.set(entry.object, new Mask());
      this.masks.get(entry.object).write(inSpace(entry.region), packed[k]);
    });
    this.revision = change.revision;
    if (change.state) {
      const { steps, steps_from: first } = change.state; // only those that changed have come
      this.state = { ...change.state, steps: [...this.state.steps.slice(0, first), ...steps] };
    }
    const names = new Set(this.state.objects.map((object) => object.name));
    for (const kept of [this.masks, this.hidden, this.locked]) {
      for (const name of kept.keys()) if (!names.has(name)) kept.delete(name);
    }
    if (!change.following) this.progress.followed = null;
    if (change.warning && change.warning !== this.warned) this.tell(change.warning, "warning");
    this.warned = change.warning;
  }

  happened(event) {
    if (event.type === "encoded") {
      this.progress.encoded = event;
      this.changed();
    } else if (event.type === "progress") {
      this.progress.followed = event;
      this.changed();
    } else if (event.type === "error") {
      this.tell(event.detail, "error");
      this.sync();
    } else if (event.type === "closed") {
      this.dispatchEvent(new CustomEvent("ended", { detail: event.detail }));
    } else if (event.type === "lost") {
      this.tell("The connection to the server is lost. Trying again; what was done is on disk.", "warning");
    } else if (event.type === "connected") {
      if (this.revision > 0) this.sync();
    } else if (event.type === "stepped" || event.type === "changed") {
      this.queue = this.queue.then(() => {
        if (event.revision > this.revision || event.type === "changed") this.sync();
      });
    }
  }

  /** Leave it; `forGood` closes the session on the server, too. */
  async leave(forGood) {
    this.events.stop();
    this.slices.stop();
    if (forGood) await this.api.close().catch(() => {});
  }
}
