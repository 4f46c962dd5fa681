/** The server's routes for slides (docs/slides.md), as functions. */

import { Routes, answerTo, bodyOf, json, query } from "../api.js";

/** Open a slide of the folder; gives the state of its session. */
export const openSlide = (fields) => json("POST", "/api/slides", fields);

/** The routes of one session; every change answers the state after it. */
export class SlideApi extends Routes {
  constructor(id) {
    super("slides", id);
  }

  close(how = {}) {
    return fetch(this.base, { method: "DELETE", credentials: "same-origin", ...how });
  }

  /** A tile as a picture that can be drawn. */
  async tile(zoom, column, row, signal) {
    const answer = await answerTo("GET", `${this.base}/tile${query({ zoom, column, row })}`, undefined, {}, signal);
    return createImageBitmap(await bodyOf(answer, "blob"));
  }

  outline(version) {
    return json("GET", `${this.base}/outline${query({ version })}`);
  }

  save(body) {
    return json("POST", `${this.base}/save`, body);
  }

  /** The objects as a `Blob` of GeoJSON. */
  async download() {
    return bodyOf(await answerTo("GET", `${this.base}/download`), "blob");
  }
}
