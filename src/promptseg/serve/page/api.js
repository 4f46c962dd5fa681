/**
 * The server's interface (docs/server.md), as functions. Nothing here knows what is on the screen.
 *
 * Every function answers what the server answers, or throws a `Refusal` with its one line for people.
 */

/** What the server did not do, and why. `status` is that of HTTP; 0 where no answer came. */
export class Refusal extends Error {
  constructor(detail, status, kind = "") {
    super(detail);
    this.name = "Refusal";
    this.status = status;
    this.kind = kind;
  }
}

/** A request and its answer; `signal` may give it up. */
export async function answerTo(method, path, body, headers = {}, signal = undefined) {
  const asked = { method, headers, credentials: "same-origin", signal };
  if (body !== undefined) {
    asked.body = JSON.stringify(body);
    asked.headers = { "Content-Type": "application/json", ...headers };
  }
  let answer;
  try {
    answer = await fetch(path, asked);
  } catch {
    throw new Refusal("The server does not answer. Is it still running?", 0);
  }
  if (answer.ok) return answer;
  let told = {};
  try {
    told = await answer.json();
  } catch {
    told = {};
  }
  throw new Refusal(told.detail || `The server answered ${answer.status}.`, answer.status, told.kind);
}

/** The body of an answer as "json", "blob" or "arrayBuffer"; one that breaks off on its way is a refusal, too. */
export async function bodyOf(answer, kind) {
  try {
    return await answer[kind]();
  } catch {
    throw new Refusal("The server's answer broke off.", 0);
  }
}

/** The JSON that a request is answered by. */
export const json = async (...asked) => bodyOf(await answerTo(...asked), "json");

/** Fields as the query of an address; those without a value are left out. */
export const query = (fields) => {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

/** Models, windows, formats and limits. */
export const serverInfo = () => json("GET", "/api/info");

/** What a folder below the root holds. */
export const imagesOf = (folder) => json("GET", `/api/images${query({ folder })}`);

/** State and note of an image; gives both. */
export const rememberImage = (path, fields) => json("PUT", "/api/images", { path, ...fields });

/** Put the demonstration CT into the folder; gives `{path}`. */
export const demoImage = () => json("POST", "/api/demo", {});

/** Open an image of the folder; gives the state of its session. */
export const openImage = (fields) => json("POST", "/api/sessions", fields);

const ARRAYS = { u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, f4: Float32Array };

/** The routes that sessions of every kind have; `kind` is sessions, slides or videos. */
export class Routes {
  constructor(kind, id) {
    this.id = id;
    this.base = `/api/${kind}/${encodeURIComponent(id)}`;
  }

  state() {
    return json("GET", this.base);
  }

  close() {
    return json("DELETE", this.base);
  }

  prompt(body) {
    return json("POST", `${this.base}/prompts`, body);
  }

  newObject(body) {
    return json("POST", `${this.base}/objects`, body);
  }

  changeObject(body) {
    return json("PUT", `${this.base}/objects`, body);
  }

  undo(body = {}) {
    return json("POST", `${this.base}/undo`, body);
  }

  redo(body = {}) {
    return json("POST", `${this.base}/redo`, body);
  }
}

/** The routes of one session on an image. */
export class SessionApi extends Routes {
  constructor(id) {
    super("sessions", id);
  }

  /** `count` slices along `axis` from `index` as one typed array, rows by rows. */
  async slices(axis, index, count) {
    const answer = await answerTo("GET", `${this.base}/slices${query({ axis, index, count })}`);
    const kind = ARRAYS[answer.headers.get("X-Dtype")];
    return new kind(await bodyOf(answer, "arrayBuffer"));
  }

  /** Masks since a revision; 0 for everything. */
  changes(since) {
    return json("GET", `${this.base}/changes${query({ since })}`);
  }

  preview(body) {
    return json("POST", `${this.base}/preview`, body);
  }

  cancel(body) {
    return json("POST", `${this.base}/cancel`, body);
  }

  measurements() {
    return json("GET", `${this.base}/measurements`);
  }

  /** Annotation times: start, pause, resume, stop or discard; gives `{times}`. */
  times(body) {
    return json("POST", `${this.base}/times`, body);
  }

  save(body) {
    return json("POST", `${this.base}/save`, body);
  }

  /** The masks as a `Blob`, in the format of `ending`. */
  async download(ending, overlap) {
    const answer = await answerTo("GET", `${this.base}/download${query({ ending, overlap })}`);
    return bodyOf(answer, "blob");
  }

  /** A socket on what happens. */
  socket() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    return new WebSocket(`${scheme}://${location.host}${this.base}/events`);
  }
}
