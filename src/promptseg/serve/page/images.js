/** The folder's images: open one, its state and note, and the next one to do. */

import { Refusal, SessionApi, demoImage, imagesOf, openImage, rememberImage } from "./api.js";
import { byId, iconButton, make } from "./dom.js";
import { ask, tell } from "./status.js";

const STATES = ["to do", "begun", "done", "flagged"];

const sizeOf = (bytes) =>
  bytes === null ? "" : bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

export class Images {
  /** `opened(state)` is called with the session of an image that was opened. */
  constructor(app, opened) {
    this.app = app;
    this.opened = opened;
    this.folder = "";
    this.entries = [];
    this.attempt = null; // what is being opened; a later choice takes its place
    byId("demo").addEventListener("click", () => this.demo());
    byId("next-image").addEventListener("click", () => this.next());
    byId("refresh").addEventListener("click", () => this.refresh());
    byId("state").replaceChildren(...STATES.map((state) => make("option", { text: state, value: state })));
    byId("state").addEventListener("change", (event) => this.remember({ state: event.target.value }));
    byId("note").addEventListener("input", (event) => {  // a page may be closed while one writes
      clearTimeout(this.writing);
      const note = event.target.value;
      const { path } = this.app; // the next image may be open when it is written
      this.writing = setTimeout(() => this.remember({ note }, path), 400);
    });
    byId("open-options").addEventListener("submit", (event) => {
      event.preventDefault();
      byId("open-with").close();
      if (this.askedKind === "slide") this.openSlide(this.asked, this.chosen());
      else this.open(this.asked, this.chosen());
    });
    byId("open-with-cancel").addEventListener("click", () => byId("open-with").close());
    byId("open-as-video").addEventListener("click", () => {
      byId("open-with").close();
      app.video.ask(this.asked);
    });
  }

  /** Read the list of a folder again. */
  async refresh(folder = this.folder) {
    try {
      const found = await imagesOf(folder);
      this.folder = found.folder;
      this.entries = found.entries;
    } catch (refusal) {
      tell(refusal.message, "error");
    }
    this.show();
  }

  /** The list says that an image was begun, as soon as something is done on it. */
  began(work) {
    if (this.known === work || work.state.steps.length < 2) return;
    this.known = work;
    const entry = this.entries.find((one) => one.path === work.state.path);
    if (entry && entry.state === "to do") this.refresh();
  }

  show() {
    const { path } = this.app;
    const rows = this.entries.map((entry) => this.row(entry, path));
    if (this.folder) {
      const up = this.folder.split("/").slice(0, -1).join("/");
      rows.unshift(make("li", {}, make("button", {
        type: "button", class: "entry folder", text: "‥ up", onclick: () => this.refresh(up),
      })));
    }
    if (!rows.length) rows.push(make("li", { class: "empty", text: "No image in this folder." }));
    byId("images").replaceChildren(...rows);
    byId("folder").textContent = this.folder || "Images";
    const known = this.entries.find((entry) => entry.path === path);
    byId("about").hidden = !path;
    byId("next-image").disabled = !this.entries.some((entry) => entry.kind !== "folder");
    if (known) {
      byId("state").value = known.state;
      if (document.activeElement !== byId("note")) byId("note").value = known.note;
    }
  }

  row(entry, path) {
    if (entry.kind === "folder") {
      const folder = make("button", {
        type: "button", class: "entry folder", text: `${entry.name}/`,
        onclick: () => this.refresh(entry.path),
      });
      const video = entry.frames && iconButton("play", `Open the frames in ${entry.name} as a video`, () => this.app.video.ask(entry.path), { class: "as-video" });
      return make("li", { class: "row" }, folder, video || null);
    }
    const facts = [
      entry.result ? "mask" : "", entry.kind === "image" ? "" : entry.kind, sizeOf(entry.bytes),
      entry.open && entry.path !== path ? "open elsewhere" : "", entry.note ? "note" : "",
    ].filter(Boolean).join(" · ");
    const button = make("button", {
      type: "button", class: "entry", title: entry.note || entry.path,
      onclick: () => this.choose(entry),
    },
    make("span", { class: `dot ${entry.state.replace(" ", "-")}`, "aria-hidden": "true" }),
    make("span", { class: "what", text: entry.name }),
    make("span", { class: "hint", text: `${entry.state}${facts ? ` · ${facts}` : ""}` }));
    if (entry.path === path) button.setAttribute("aria-current", "true");
    const more = make("button", {
      type: "button", class: "quiet more", text: "⋯", title: "Open with options",
      "aria-label": `Open ${entry.name} with options`, onclick: () => this.ask(entry.path, entry.kind),
    });
    return make("li", { class: "row" }, button, more);
  }

  /** Open an entry; of a video, the dialog first. */
  choose({ path, kind }) {
    if (this.app.path === path) return true; // a double click
    if (kind === "slide") return this.openSlide(path);
    return kind === "video" ? this.app.video.ask(path) : this.open(path);
  }

  /** A whole slide has a page of its own. */
  async openSlide(path, fields = {}) {
    await this.app.leave();
    location.assign(`slide/slide.html?${new URLSearchParams({ path, ...fields })}`);
    return false;
  }

  /** The dialog with what an image may be opened with. */
  ask(path, kind) {
    this.asked = path;
    this.askedKind = kind;
    byId("open-options").reset();
    byId("open-what").textContent = path;
    const { models, modalities, windows } = this.app.info;
    const fill = (id, first, values) => byId(id).replaceChildren(
      make("option", { value: "", text: first }),
      ...values.map(([value, text]) => make("option", { value, text })));
    fill("open-model", `the server's first: ${models[0].name}`, models.map((m) => [m.name, m.title || m.name]));
    fill("open-modality", "as the file says", modalities.map((m) => [m, m]));
    fill("open-window", "chosen by modality",
      [...Object.keys(windows), "percentile", "minmax"].map((w) => [w, w]));
    const { name, role } = this.app.info.user;
    for (const part of document.querySelectorAll(".only-others")) part.hidden = !name || role === "annotator";
    byId("open-with").showModal();
  }

  chosen() {
    const fields = {};
    for (const name of ["model", "modality", "window", "series", "stack", "of"]) {
      const value = byId(`open-${name}`).value.trim();
      if (value) fields[name] = value;
    }
    if (byId("open-frame").value !== "") fields.frame = Number(byId("open-frame").value);
    if (byId("open-afresh").checked) fields.afresh = true;
    return fields;
  }

  /** Open an image, where its session stood; gives whether it is open. */
  async open(path, fields = {}) {
    if (this.attempt && this.attempt.path === path && this.attempt.pending) return false;
    const attempt = { path, pending: true };
    this.attempt = attempt;
    byId("opening").hidden = false;
    try {
      await this.app.leave();
      const state = await openImage({ path, ...fields });
      if (this.attempt !== attempt) { // another image was chosen meanwhile
        await new SessionApi(state.session).close().catch(() => {});
        return false;
      }
      await this.opened(state);
      return true;
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      attempt.pending = false;
      if (this.attempt !== attempt) return false;
      byId("opening").hidden = true;
      if (refusal.status === 409 && !fields.take_over) {
        const text = "This image is open in another window. Work on it here? The other window then ends; nothing is lost.";
        if (await ask(text, "Work here")) return this.open(path, { ...fields, take_over: true });
      } else if (refusal.status === 503) {
        tell(`${refusal.message}. Trying again in a moment ...`);
        setTimeout(() => this.attempt === attempt && this.open(path, fields), 3000);
      } else {
        tell(refusal.message, "error");
      }
      return false;
    } finally {
      attempt.pending = false;
      if (this.attempt === attempt) byId("opening").hidden = true;
    }
  }

  /** Open the demonstration CT. */
  async demo() {
    byId("opening").hidden = false;
    try {
      const { path } = await demoImage();
      await this.refresh("");
      await this.open(path);
    } catch (refusal) {
      tell(refusal.message, "error");
    } finally {
      byId("opening").hidden = true;
    }
  }

  /** Open the next image that is not done; the one after this if all are. */
  async next() {
    await this.refresh();
    const images = this.entries.filter(({ kind }) => kind === "image" || kind === "series");
    if (!images.length) return;
    const at = images.findIndex((entry) => this.app.case && entry.path === this.app.case.state.path);
    const after = [...images.slice(at + 1), ...images.slice(0, Math.max(at, 0))];
    const found = after.find((entry) => !entry.result && ["to do", "begun"].includes(entry.state));
    if (found) await this.open(found.path);
    else tell("Every image of this folder is done or flagged.");
  }

  async remember(fields, path = this.app.path) {
    if (!path) return;
    try {
      await rememberImage(path, fields);
    } catch (refusal) {
      tell(refusal.message, "error");
    }
    this.refresh();
  }
}
