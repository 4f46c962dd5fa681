/** Voxels of an image as slices along any axis: fetched when they are looked at, the rest meanwhile. */

import { Plane, place, rowsAndColumns } from "./plane.js";
import { Retry } from "./retry.js";

const WHOLE_BYTES = 512 * 2 ** 20; // larger volumes are never held whole
const CHUNK_BYTES = 4 * 2 ** 20;
const KEPT = 96; // slices of larger volumes
const BYTES = { u1: 1, i1: 1, u2: 2, i2: 2, f4: 4 };

/**
 * The voxels of an open image.
 *
 * `slice(axis, index)` gives them rows by rows (with 3 colours last, in colour), or null while they are
 * on their way; `onArrival()` is called whenever more are there, `onProgress(share)` as the whole
 * arrives, `onFault(refusal)` when they cannot be had. What failed and may pass is asked for again.
 */
export class Slices {
  constructor(api, image, { onArrival, onProgress, onFault }) {
    this.api = api;
    this.image = image;
    this.onArrival = onArrival;
    this.onProgress = onProgress;
    this.failed = new Set(); // keys of `single` to ask for again
    this.retry = new Retry(() => this.again(), onFault);
    this.shape = image.kind === "volume" ? image.shape : [1, ...image.shape];
    this.channels = image.colour ? 3 : 1;
    this.plane = { z: new Plane(image, "z"), y: new Plane(image, "y"), x: new Plane(image, "x") };
    this.single = new Map(); // "axis index" to voxels or, while on its way, null
    this.whole = null; // voxels of slices along z
    this.arrived = new Uint8Array(this.shape[0]);
    this.missing = this.shape[0];
    this.chunks = []; // [first slice, count], still to be fetched
    this.stopped = false;
    const bytes = this.shape.reduce((a, b) => a * b) * this.channels * BYTES[image.dtype];
    if (image.kind === "volume" && bytes <= WHOLE_BYTES) {
      this.plan(bytes);
      this.fetchAll();
    }
  }

  slice(axis, index) {
    if (this.whole && (axis === "z" ? this.arrived[index] : this.missing === 0)) {
      return this.cut(axis, index);
    }
    const key = `${axis} ${index}`;
    if (!this.single.has(key)) this.fetchOne(axis, index, key);
    return this.single.get(key);
  }

  /** The value at [z, y, x]; null where it is not known yet. */
  value(at) {
    const [, height, width] = this.shape;
    if (this.whole && this.arrived[at[0]] && this.channels === 1) {
      return this.whole[(at[0] * height + at[1]) * width + at[2]];
    }
    const found = this.single.get(`z ${at[0]}`);
    return found && this.channels === 1 ? found[at[1] * width + at[2]] : null;
  }

  cut(axis, index) {
    const [, height, width] = this.shape;
    const n = this.channels;
    if (axis === "z") {
      const size = height * width * n;
      return this.whole.subarray(index * size, (index + 1) * size);
    }
    const stride = [height * width * n, width * n, n];
    const [row, column] = rowsAndColumns(axis);
    const [rows, columns] = [this.shape[row], this.shape[column]];
    const found = new this.whole.constructor(rows * columns * n);
    const from = index * stride[place(axis)];
    for (let r = 0, to = 0; r < rows; r++) {
      let at = from + r * stride[row];
      for (let c = 0; c < columns; c++, at += stride[column]) {
        for (let k = 0; k < n; k++) found[to++] = this.whole[at + k];
      }
    }
    return found;
  }

  async fetchOne(axis, index, key) {
    this.single.set(key, null);
    try {
      const found = await this.api.slices(axis, index, 1);
      this.single.set(key, found);
      for (const old of this.single.keys()) {
        if (this.single.size <= KEPT) break;
        if (this.single.get(old)) this.single.delete(old);
      }
    } catch (refusal) {
      if (this.retry.failed(refusal)) this.failed.add(key);
      return;
    }
    this.retry.succeeded();
    if (!this.stopped) this.onArrival();
  }

  /** After a failure: go on with the whole, and let those slices be asked for that are still looked at. */
  again() {
    for (const key of this.failed) this.single.delete(key);
    this.failed.clear();
    if (!this.fetching) this.fetchAll();
    this.onArrival();
  }

  /** Chunks of everything, from the middle outwards. */
  plan(bytes) {
    const depth = this.shape[0];
    const size = Math.max(1, Math.min(64, Math.floor((CHUNK_BYTES * depth) / bytes)));
    for (let first = 0; first < depth; first += size) this.chunks.push([first, Math.min(size, depth - first)]);
    const distance = ([first]) => Math.abs(first + size / 2 - depth / 2);
    this.chunks.sort((a, b) => distance(a) - distance(b));
  }

  /** One chunk at a time, so that single slices get through. */
  async fetchAll() {
    const depth = this.shape[0];
    this.fetching = true;
    while (this.chunks.length) {
      const [first, count] = this.chunks[0];
      let found;
      try {
        found = await this.api.slices("z", first, count);
      } catch (refusal) {
        this.retry.failed(refusal);
        break;
      }
      if (this.stopped) return;
      this.retry.succeeded();
      this.chunks.shift();
      const perSlice = found.length / count;
      if (!this.whole) this.whole = new found.constructor(perSlice * depth);
      this.whole.set(found, first * perSlice);
      this.arrived.fill(1, first, first + count);
      this.missing -= count;
      this.onProgress(1 - this.missing / depth);
      this.onArrival();
    }
    this.fetching = false;
    if (this.missing === 0) this.single.clear();
  }

  stop() {
    this.stopped = true;
    this.retry.stop();
  }
}
