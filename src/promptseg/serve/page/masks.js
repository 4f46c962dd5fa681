/** Masks of objects in memory: only the box around each object is kept. */

import { place, rowsAndColumns } from "./plane.js";

/** The packed bits of docs/server.md, "Changes": base64 of a zlib stream, inflated. */
export async function inflated(bits) {
  const bytes = Uint8Array.from(atob(bits), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Regions of pictures as those of volumes of one slice. */
export const inSpace = (region) => (region.length === 2 ? [[0, 1], ...region] : region);

const sizeOf = (region) => region.map(([first, end]) => end - first);

/** One object: 1 where it is, inside `region` ([first, end] per z, y, x). */
export class Mask {
  constructor() {
    this.region = null;
    this.data = null;
    this.version = 0;
  }

  /** Put packed bits in place; outside `region` nothing changes. */
  write(region, packed) {
    this.cover(region);
    this.version += 1;
    const [height, width] = sizeOf(this.region).slice(1);
    const origin = this.region.map(([first]) => first);
    let bit = 0;
    for (let z = region[0][0]; z < region[0][1]; z++) {
      for (let y = region[1][0]; y < region[1][1]; y++) {
        let at = ((z - origin[0]) * height + (y - origin[1])) * width + (region[2][0] - origin[2]);
        for (let x = region[2][0]; x < region[2][1]; x++, bit++, at++) {
          this.data[at] = (packed[bit >> 3] >> (7 - (bit & 7))) & 1;
        }
      }
    }
  }

  /** Make room for a region. */
  cover(region) {
    const old = this.region;
    const inside = ([first, end], k) => old[k][0] <= first && end <= old[k][1];
    if (old && region.every(inside)) return;
    const grown = ([first, end], k) => [Math.min(first, old[k][0]), Math.max(end, old[k][1])];
    const around = old ? region.map(grown) : region.map((range) => [...range]);
    const size = sizeOf(around);
    const data = new Uint8Array(size[0] * size[1] * size[2]);
    if (old) {
      const [depth, height, width] = sizeOf(old);
      const shift = old.map(([first], k) => first - around[k][0]);
      for (let z = 0; z < depth; z++) {
        for (let y = 0; y < height; y++) {
          const from = (z * height + y) * width;
          const to = ((z + shift[0]) * size[1] + y + shift[1]) * size[2] + shift[2];
          data.set(this.data.subarray(from, from + width), to);
        }
      }
    }
    this.region = around;
    this.data = data;
  }

  /**
   * The object on a slice: `{x, y, width, height, data}` with the first column and row of a crop, or null
   * where it has no pixel there.
   */
  slice(axis, index) {
    if (!this.region) return null;
    const [row, column] = rowsAndColumns(axis);
    const along = place(axis);
    const [first, end] = this.region[along];
    if (index < first || index >= end) return null;
    const size = sizeOf(this.region);
    const stride = [size[1] * size[2], size[2], 1];
    const [height, width] = [size[row], size[column]];
    const data = new Uint8Array(height * width);
    let any = 0;
    for (let r = 0; r < height; r++) {
      let at = (index - first) * stride[along] + r * stride[row];
      for (let c = 0; c < width; c++, at += stride[column]) {
        any |= data[r * width + c] = this.data[at];
      }
    }
    if (!any) return null;
    return { x: this.region[column][0], y: this.region[row][0], width, height, data };
  }

  /** Whether it has the voxel [z, y, x]. */
  has(at) {
    if (!this.region || this.region.some(([first, end], k) => at[k] < first || at[k] >= end)) {
      return false;
    }
    const [, height, width] = sizeOf(this.region);
    const [z, y, x] = at.map((value, k) => value - this.region[k][0]);
    return this.data[(z * height + y) * width + x] === 1;
  }
}

/** A crop of a slice in the whole slice, rows by rows. */
export function wholeSlice(crop, rows, columns) {
  const whole = new Uint8Array(rows * columns);
  if (crop) {
    for (let r = 0; r < crop.height; r++) {
      const from = r * crop.width;
      whole.set(crop.data.subarray(from, from + crop.width), (r + crop.y) * columns + crop.x);
    }
  }
  return whole;
}

/** Runs of set pixels, `start:length start:length`, counted from 0. */
export function rleOf(mask) {
  const runs = [];
  for (let at = mask.indexOf(1); at !== -1; ) {
    let end = mask.indexOf(0, at);
    if (end === -1) end = mask.length;
    runs.push(`${at}:${end - at}`);
    at = mask.indexOf(1, end);
  }
  return runs.join(" ");
}

/**
 * The outline of a crop along the edges of its pixels, in coordinates of the slice, where pixel centres
 * are whole numbers.
 */
export function outlineOf({ x, y, width, height, data }) {
  const path = new Path2D();
  const at = (r, c) => (r < 0 || c < 0 || r >= height || c >= width ? 0 : data[r * width + c]);
  for (let r = 0; r <= height; r++) {
    for (let c = 0; c < width; ) {
      if (at(r - 1, c) === at(r, c)) {
        c++;
        continue;
      }
      const from = c;
      while (c < width && at(r - 1, c) !== at(r, c)) c++;
      path.moveTo(x + from - 0.5, y + r - 0.5);
      path.lineTo(x + c - 0.5, y + r - 0.5);
    }
  }
  for (let c = 0; c <= width; c++) {
    for (let r = 0; r < height; ) {
      if (at(r, c - 1) === at(r, c)) {
        r++;
        continue;
      }
      const from = r;
      while (r < height && at(r, c - 1) !== at(r, c)) r++;
      path.moveTo(x + c - 0.5, y + from - 0.5);
      path.lineTo(x + c - 0.5, y + r - 0.5);
    }
  }
  return path;
}
