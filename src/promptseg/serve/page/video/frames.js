/** Frames and masks of a video as far as they are at hand: few, and those that come next. */

import { inflated, outlineOf } from "../masks.js";
import { Retry } from "../retry.js";

const KEPT_BYTES = 192 << 20; // of pictures as the screen has them
const KEPT_MASKS = 512; // frames
const AT_ONCE = 3; // pictures asked for at the same time
const MASKS_AHEAD = 48;

/** Pictures of frames by their number; the one that is asked for comes first, then those after it. */
export class Frames {
  /** `onArrival(frame)` is called for every picture that has come, `onFault(refusal)` for refusals. */
  constructor(api, clip, onArrival, onFault) {
    this.api = api;
    this.clip = clip;
    this.onArrival = onArrival;
    this.retry = new Retry(() => this.want(this.looked), onFault);
    this.kept = new Map();
    this.asked = new Map();
    this.broken = new Map();
    const [rows, columns] = clip.size;
    this.width = Math.min(columns, 1600);
    const bytes = 4 * this.width * Math.round((rows * this.width) / columns);
    this.most = Math.max(8, Math.floor(KEPT_BYTES / bytes));
  }

  /** The picture of a frame, or null while it is on its way. */
  get(frame) {
    const found = this.kept.get(frame);
    if (!found) return null;
    this.kept.delete(frame); // the last one used is the last one forgotten
    this.kept.set(frame, found);
    return found;
  }

  /** Have these frames fetched, the first one first; others that nobody waits for any more are given up. */
  want(frames) {
    this.looked = frames;
    const wanted = new Set(frames);
    for (const [frame, stop] of this.asked) if (!wanted.has(frame)) stop.abort();
    this.wanted = frames.filter((frame) => !this.kept.has(frame) && !this.asked.has(frame) && !this.broken.has(frame));
    this.go();
  }

  go() {
    while (this.asked.size < AT_ONCE && this.wanted.length) this.fetch(this.wanted.shift());
  }

  async fetch(frame) {
    const stop = new AbortController();
    this.asked.set(frame, stop);
    try {
      const picture = await this.api.frame(frame, this.width < this.clip.size[1] ? this.width : undefined, stop.signal);
      this.kept.set(frame, picture);
      while (this.kept.size > this.most) {
        const [oldest, old] = this.kept.entries().next().value;
        this.kept.delete(oldest);
        old.close();
      }
      this.retry.succeeded();
      this.onArrival(frame);
    } catch (refusal) {
      if (!stop.signal.aborted && !this.retry.failed(refusal)) this.broken.set(frame, refusal.message);
    } finally {
      this.asked.delete(frame);
      this.go();
    }
  }

  stop() {
    this.retry.stop();
    this.wanted = [];
    for (const stop of this.asked.values()) stop.abort();
    for (const picture of this.kept.values()) picture.close();
    this.kept.clear();
  }
}

/** Masks of all objects by frame, as crops with outlines. */
export class FrameMasks {
  constructor(api, clip, onArrival, onFault) {
    this.api = api;
    this.clip = clip;
    this.onArrival = onArrival;
    this.retry = new Retry(() => this.want(...this.looked), onFault);
    this.kept = new Map();
    this.epoch = 0; // grows when what is kept may be wrong
    this.pending = new Map();
  }

  /** What is kept is of an earlier state: it is shown until the new masks are there. */
  outdate() {
    this.epoch += 1;
  }

  /** Masks on a frame, `[{object, crop, outline, area, ...}]`; null while nothing is known of it. */
  get(frame) {
    return this.kept.get(frame)?.found ?? null;
  }

  /** Whether the masks on a frame are those of now. */
  isFresh(frame) {
    return this.kept.get(frame)?.epoch === this.epoch;
  }

  /** Have the masks of a frame fetched and, if `ahead`, those of the frames after it. */
  async want(frame, ahead = false) {
    const { stride, last } = this.clip;
    this.looked = [frame, ahead];
    if (this.isFresh(frame)) {
      if (!ahead) return;
      const soon = Math.min(last, frame + stride * Math.floor(MASKS_AHEAD / 2));
      if (this.isFresh(soon)) return;
      frame = soon;
    }
    const key = `${frame} ${this.epoch}`;
    if (this.pending.has(key)) return;
    this.pending.set(key, true);
    const { epoch } = this;
    try {
      const { frames } = await this.api.masks(frame, ahead ? MASKS_AHEAD : 1);
      for (const [number, entries] of Object.entries(frames)) {
        const found = await Promise.all(entries.map(unpacked));
        this.kept.delete(Number(number));
        this.kept.set(Number(number), { epoch, found });
      }
      while (this.kept.size > KEPT_MASKS) this.kept.delete(this.kept.keys().next().value);
      this.retry.succeeded();
      this.onArrival(frame);
    } catch (refusal) {
      this.retry.failed(refusal);
    } finally {
      this.pending.delete(key);
    }
  }

  stop() {
    this.retry.stop();
  }
}

/** A mask of the server as a crop. */
async function unpacked(entry) {
  const [[top, bottom], [left, right]] = entry.region;
  const [height, width] = [bottom - top, right - left];
  if (!height || !width) return { ...entry, crop: null };
  const bits = await inflated(entry.bits);
  const data = new Uint8Array(height * width);
  for (let k = 0; k < data.length; k++) data[k] = (bits[k >> 3] >> (7 - (k & 7))) & 1;
  const crop = { x: left, y: top, width, height, data };
  return { ...entry, crop, outline: outlineOf(crop) };
}
