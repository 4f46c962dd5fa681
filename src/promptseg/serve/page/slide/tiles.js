/** Tiles of a slide: those that are wanted are fetched, few at a time; those seen last are kept. */

const KEPT = 160;
const AT_ONCE = 6;
const AGAIN_MS = 2_000;

export class Tiles {
  /** `onArrival()` is called when there is something new to draw. */
  constructor(api, slide, onArrival) {
    this.api = api;
    this.slide = slide;
    this.onArrival = onArrival;
    this.kept = new Map(); // by key, those used last at the end
    this.coming = new Map(); // key -> AbortController
    this.wanted = [];
    this.stopped = false;
  }

  static key(zoom, column, row) {
    return `${zoom} ${column} ${row}`;
  }

  /** The picture of a tile; null while it is not there. */
  get(zoom, column, row) {
    const key = Tiles.key(zoom, column, row);
    const tile = this.kept.get(key);
    if (!tile) return null;
    this.kept.delete(key);
    this.kept.set(key, tile);
    return tile;
  }

  /** Whether tiles are on their way. */
  get busy() {
    return this.coming.size > 0 || this.wanted.length > 0;
  }

  /** Fetch these, [zoom, column, row] each, the most wanted first; others are no longer waited for. */
  want(tiles) {
    const keys = new Set(tiles.map((tile) => Tiles.key(...tile)));
    for (const [key, control] of this.coming) if (!keys.has(key)) control.abort();
    this.wanted = tiles.filter((tile) => {
      const key = Tiles.key(...tile);
      return !this.kept.has(key) && !this.coming.has(key);
    });
    this.next();
  }

  next() {
    while (!this.stopped && this.coming.size < AT_ONCE && this.wanted.length) this.fetch(this.wanted.shift());
  }

  async fetch(tile) {
    const key = Tiles.key(...tile);
    const control = new AbortController();
    this.coming.set(key, control);
    try {
      const picture = await this.api.tile(...tile, control.signal);
      this.kept.set(key, picture);
      while (this.kept.size > KEPT) {
        const [oldest, gone] = this.kept.entries().next().value;
        this.kept.delete(oldest);
        gone.close();
      }
    } catch (refusal) {
      if (!control.signal.aborted && !this.stopped) setTimeout(() => this.onArrival(), AGAIN_MS);
    } finally {
      this.coming.delete(key);
    }
    if (this.stopped) return;
    this.onArrival();
    this.next();
  }

  stop() {
    this.stopped = true;
    this.wanted = [];
    for (const control of this.coming.values()) control.abort();
    for (const tile of this.kept.values()) tile.close();
    this.kept.clear();
  }
}
