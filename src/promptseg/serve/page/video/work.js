/**
 * A video that is open: the session's state, the frame that is looked at, and what was found on it.
 *
 * Beside the events of everything that is open, "line" is dispatched when the time line is new.
 */

import { Events } from "../events.js";
import { inflated } from "../masks.js";
import { Opened } from "../opened.js";
import { Retry } from "../retry.js";
import { VideoApi } from "./api.js";
import { FrameMasks, Frames } from "./frames.js";

const AHEAD = 12; // frames fetched on the way, playing or stepping
const POLL_MS = 900; // while objects are followed

export class VideoWork extends Opened {
  constructor(state, tell) {
    super(new VideoApi(state.session), state, tell);
    this.clip = state.clip;
    this.progress = null; // of tracking or writing
    this.line = new Map();
    this.retry = new Retry(() => this.fetchLine(), (refusal) => this.fault(refusal)); // of the time line
    this.frame = state.clip.first;
    this.way = 1; // the direction in which the user goes
    const arrived = (frame) => frame === this.frame && this.viewed();
    this.frames = new Frames(this.api, this.clip, arrived, (refusal) => this.fault(refusal));
    this.masks = new FrameMasks(this.api, this.clip, () => this.viewed(), (refusal) => this.fault(refusal));
    this.events = new Events(this.api, (event) => this.happened(event));
    this.take(state);
  }

  get path() {
    return this.state.path;
  }

  get places() {
    return this.clip.places;
  }

  /** Frames of the selection in a second, as they are played. */
  get rate() {
    const rate = this.clip.rate ? this.clip.rate / this.clip.stride : 10;
    return Math.min(Math.max(rate, 1), 60);
  }

  placeOf(frame) {
    return Math.round((frame - this.clip.first) / this.clip.stride);
  }

  frameAt(place) {
    const inside = Math.max(0, Math.min(this.places - 1, Math.round(place)));
    return this.clip.first + inside * this.clip.stride;
  }

  get place() {
    return this.placeOf(this.frame);
  }

  /** Seconds of a frame from the start of the video; null where nothing says so. */
  secondsOf(frame) {
    const { seconds, first, last, start } = this.clip;
    if (seconds === null) return null;
    return last > first ? start + (seconds * (frame - first)) / (last - first) : start;
  }

  get current() {
    return this.object(this.state.current);
  }

  object(name) {
    return this.state.objects.find((object) => object.name === name) || null;
  }

  get busy() {
    return this.waiting > 0;
  }

  get tracking() {
    return this.state.tracking;
  }

  /** Look at the frame at a place; gives whether it is another one. */
  goTo(place, playing = false) {
    const frame = this.frameAt(place);
    if (frame !== this.frame) this.way = frame > this.frame ? 1 : -1;
    else if (!playing && this.frames.get(frame) && this.masks.isFresh(frame)) return false;
    this.frame = frame;
    this.want(playing);
    this.viewed();
    return true;
  }

  want(playing = false) {
    const { stride, first, last } = this.clip;
    const wanted = [];
    for (let k = 0; k <= AHEAD; k++) wanted.push(this.frame + k * stride * this.way);
    wanted.splice(2, 0, this.frame - stride * this.way);
    this.frames.want(wanted.filter((frame) => first <= frame && frame <= last));
    this.masks.want(this.frame, playing && !this.tracking);
  }

  apply(state) {
    this.take(state);
  }

  /** The state as the server has it. */
  sync() {
    return this.act(() => this.api.state());
  }

  /** Stop following or writing at once. */
  async cancel() {
    try {
      this.take(await this.api.cancel());
    } catch (refusal) {
      this.fault(refusal);
    }
  }

  /** Show a new state. */
  take(state) {
    if (this.taken && state.revision < this.state.revision) return;
    const isNew = !this.taken || state.revision !== this.state.revision;
    this.taken = true;
    this.state = state;
    if (!state.tracking && !state.writing) this.progress = null;
    if (state.tracking && !this.progress) this.progress = { ...state.tracking, begun: performance.now(), from: state.tracking.done };
    if (state.warning && state.warning !== this.warned) this.tell(state.warning, "warning");
    this.warned = state.warning;
    if (isNew) this.refresh();
    this.changed();
  }

  /** Fetch masks and the time line anew. */
  refresh() {
    this.masks.outdate();
    this.want();
    this.fetchLine();
  }

  async fetchLine() {
    if (this.fetching) {
      this.again = true;
      return;
    }
    this.fetching = true;
    try {
      const { objects } = await this.api.timeline();
      const lines = await Promise.all(objects.map((one) => inflated(one.line)));
      this.line = new Map(objects.map((one, k) => [one.name, { ...one, levels: lines[k] }]));
      this.retry.succeeded();
      this.dispatchEvent(new Event("line"));
    } catch (refusal) {
      this.retry.failed(refusal);
    } finally {
      this.fetching = false;
      if (this.again && !this.stopped) {
        this.again = false;
        this.fetchLine();
      }
    }
  }

  happened(event) {
    if (event.type === "progress" || event.type === "writing") {
      const old = this.progress;
      const begun = old && old.type === event.type ? old : { begun: performance.now(), from: event.done };
      this.progress = { ...event, begun: begun.begun, from: begun.from };
      this.changed();
      if (event.type === "progress") this.peek();
    } else if (["tracked", "stopped", "error"].includes(event.type)) {
      if (event.type === "error") this.tell(event.detail, "error");
      else if (event.action) this.tell(`${event.action[0].toUpperCase()}${event.action.slice(1)}.`);
      this.progress = null;
      this.sync();
    } else if (event.type === "stepped") {
      if (event.revision > this.state.revision) this.queue = this.queue.then(() => event.revision > this.state.revision && this.sync());
    } else if (event.type === "closed") {
      this.dispatchEvent(new CustomEvent("ended", { detail: event.detail }));
    } else if (event.type === "lost") {
      this.tell("The connection to the server is lost. Trying again; what was done is on disk.", "warning");
    } else if (event.type === "connected") {
      if (this.wasConnected) this.sync();
      this.wasConnected = true;
    }
  }

  /** What was found so far, now and then. */
  peek() {
    if (this.peeking || this.stopped) return;
    this.peeking = setTimeout(() => {
      this.peeking = 0;
      if (this.stopped) return;
      this.masks.outdate();
      this.masks.want(this.frame);
      this.fetchLine();
    }, POLL_MS);
  }

  fault(refusal) {
    if (!this.stopped) super.fault(refusal);
  }

  /** Leave it; `forGood` closes the session on the server, too. */
  async leave(forGood) {
    this.stopped = true;
    clearTimeout(this.peeking);
    this.events.stop();
    this.frames.stop();
    this.masks.stop();
    this.retry.stop();
    if (forGood) await this.api.close().catch(() => {});
  }
}
