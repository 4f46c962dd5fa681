/** The server's interface for videos (docs/server.md, "Videos"), as functions. */

import { Refusal, Routes, answerTo, bodyOf, json, query } from "../api.js";

/** What is known of a video before it is opened, and the sessions there are on it. */
export const videoFacts = (path) => json("GET", `/api/videos${query({ path })}`);

/** Open a video of the folder; gives the state of its session. */
export const openVideo = (fields) => json("POST", "/api/videos", fields);

/**
 * Send a file into the folder; `onProgress(share)` is told how much of it has gone.
 *
 * Gives `{done, stop}`: a promise of `{path, bytes}`, and what gives it up.
 */
export function sendFile(file, path, onProgress) {
  const request = new XMLHttpRequest(); // which tells how much has gone; fetch does not
  const done = new Promise((resolve, reject) => {
    request.open("POST", `/api/files${query({ path })}`);
    request.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    request.onerror = () => reject(new Refusal(`The connection was lost while ${file.name} was sent.`, 0));
    request.onabort = () => reject(new Refusal(`${file.name} was not sent to its end; nothing of it is kept.`, -1));
    request.onload = () => {
      let told = {};
      try {
        told = JSON.parse(request.responseText);
      } catch {
        told = {};
      }
      if (request.status === 200) resolve(told);
      else reject(new Refusal(told.detail || `The server answered ${request.status}.`, request.status, told.kind));
    };
    request.send(file);
  });
  return { done, stop: () => request.abort() };
}

/** The routes of one session on a video. */
export class VideoApi extends Routes {
  constructor(id) {
    super("videos", id);
  }

  /** A frame as an `ImageBitmap`, at most `width` pixels wide. */
  async frame(frame, width, signal) {
    const answer = await answerTo("GET", `${this.base}/frame${query({ frame, width })}`, undefined, {}, signal);
    const blob = await bodyOf(answer, "blob");
    try {
      return await createImageBitmap(blob);
    } catch {
      throw new Refusal(`Frame ${frame} is no picture that can be shown.`, 415);
    }
  }

  /** Masks on `count` frames from one on, by frame. */
  masks(frame, count = 1) {
    return json("GET", `${this.base}/masks${query({ frame, count })}`);
  }

  timeline() {
    return json("GET", `${this.base}/timeline`);
  }

  reset(body) {
    return json("POST", `${this.base}/reset`, body);
  }

  track(direction) {
    return json("POST", `${this.base}/track`, { direction });
  }

  cancel() {
    return json("POST", `${this.base}/cancel`, {});
  }

  /** Have results written; gives `{folder, files: [{name, bytes}]}`. */
  results(body) {
    return json("POST", `${this.base}/results`, body);
  }

  /** Where a result is fetched from. */
  fileAddress(name) {
    return `${this.base}/results/${encodeURIComponent(name)}`;
  }

  /** A socket on what happens. */
  socket() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    return new WebSocket(`${scheme}://${location.host}${this.base}/events`);
  }
}
