/** Choosing a video: model, frames and how many of them; and sending one to the server. */

import { Refusal } from "../api.js";
import { byId, make } from "../dom.js";
import { tell } from "../status.js";
import { sendFile, videoFacts } from "./api.js";
import { clock } from "./timeline.js";

const number = (id) => byId(id).valueAsNumber;

/** The dialog before a video is opened. */
export class Opening {
  /** `open(path, fields)` opens what was chosen; `info` is what the server has. */
  constructor(info, open) {
    this.info = info;
    this.path = null;
    byId("v-open-cancel").addEventListener("click", () => byId("v-open").close());
    for (const id of ["v-open-stride", "v-open-first", "v-open-last"]) {
      byId(id).addEventListener("input", () => this.count());
    }
    byId("v-open-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.count()) return;
      byId("v-open").close();
      open(this.path, this.fields());
    });
  }

  async ask(path) {
    this.path = path;
    byId("opening").hidden = false;
    try {
      this.facts = await videoFacts(path);
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (this.path === path) tell(refusal.message, "error");
      return;
    } finally {
      byId("opening").hidden = true;
    }
    if (this.path !== path) return; // another one was chosen meanwhile
    const { count, size, rate, seconds, codec, notes, sessions } = this.facts;
    const { models, modalities } = this.info;
    byId("v-open-form").reset();
    byId("v-open-title").textContent = path;
    byId("v-open-facts").textContent = [
      `${count.toLocaleString("en")} frames`, `${size[1]} × ${size[0]}`, rate ? `${Number(rate.toFixed(2))} per second` : "",
      seconds === null ? "" : clock(seconds), codec, ...notes,
    ].filter(Boolean).join(" · ");
    byId("v-open-model").replaceChildren(...models.map(({ name, title }) => make("option", { value: name, text: title ? `${name} · ${title}` : name })));
    byId("v-open-modality").replaceChildren(make("option", { value: "", text: "as the file says" }), ...modalities.map((m) => make("option", { value: m, text: m })));
    const [first, last, stride] = sessions.length ? sessions[0].frames.split(":").map(Number) : [0, count - 1, 1];
    for (const [id, value] of [["v-open-first", first], ["v-open-last", last], ["v-open-stride", stride]]) {
      byId(id).value = String(value);
      byId(id).max = String(id === "v-open-stride" ? count : count - 1);
    }
    this.count();
    byId("v-open").showModal();
    byId("v-open-go").focus();
  }

  /** Say how many frames are used; gives whether the choice makes sense. */
  count() {
    const [first, last, stride] = ["v-open-first", "v-open-last", "v-open-stride"].map(number);
    const { count, rate, sessions } = this.facts;
    const isGood = [first, last, stride].every(Number.isInteger) && first >= 0 && first <= last && last < count && stride >= 1;
    const used = isGood ? Math.floor((last - first) / stride) + 1 : 0;
    const each = rate && isGood ? ` (${Number((rate / stride).toFixed(2))} per second)` : "";
    const which = stride === 1 ? "every frame" : `one frame of ${stride}`;
    byId("v-open-used").textContent = isGood ? `${which}: ${used.toLocaleString("en")}${each}` : "";
    byId("v-open-note").textContent = isGood ? "" : `Frames go from 0 to ${count - 1}, the first one before the last.`;
    byId("v-open-go").disabled = !isGood;
    const name = `${first}:${first + (used - 1) * stride}:${stride}`;
    const known = sessions.some(({ frames }) => frames === name);
    byId("v-open-earlier").textContent = known
      ? "Something was done on these frames: it goes on where it stood."
      : sessions.length ? `Earlier work is on the frames ${sessions.map(({ frames }) => frames).join(", ")}.` : "";
    byId("v-open-afresh").closest("label").hidden = !known;
    return isGood;
  }

  fields() {
    const [first, last, stride] = ["v-open-first", "v-open-last", "v-open-stride"].map(number);
    const modality = byId("v-open-modality").value;
    return {
      frames: `${first}:${last}:${stride}`, model: byId("v-open-model").value,
      ...(modality ? { modality } : {}),
      ...(byId("v-open-afresh").checked && !byId("v-open-afresh").closest("label").hidden ? { afresh: true } : {}),
    };
  }
}

/** Files on their way to the server: chosen, or dropped onto the page. */
export class Uploads {
  /** `folder()` names where they go, `sent(path)` is told of a video that has come, or of the folder of frames. */
  constructor(folder, sent) {
    this.folder = folder;
    this.sent = sent;
    const files = make("input", { type: "file", hidden: true, multiple: true, id: "v-files" });
    const frames = make("input", { type: "file", hidden: true, id: "v-folder" });
    frames.webkitdirectory = true;
    const choose = (text, title, input) => make("button", { type: "button", class: "quiet", text, title, onclick: () => input.click() });
    this.state = make("div", { class: "sending", hidden: true });
    document.querySelector("nav").append(
      make("div", { class: "foot", id: "v-uploads" },
        choose("Upload ...", "Send a video, a DICOM cine or images into this folder; or drop them onto the page", files),
        choose("Frames ...", "Send a folder of numbered images, which is a video", frames)),
      files, frames, this.state);
    for (const input of [files, frames]) {
      input.addEventListener("change", () => {
        this.send([...input.files]);
        input.value = "";
      });
    }
    document.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
    document.addEventListener("drop", (event) => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      this.send([...event.dataTransfer.files]);
    });
  }

  async send(files) {
    if (this.busy) {
      tell("One after the other: something is being sent already.", "warning");
      return;
    }
    this.busy = true;
    const text = make("span", {});
    const bar = make("progress", { max: 1, value: 0 });
    const stop = make("button", { type: "button", class: "quiet", text: "stop" });
    this.state.replaceChildren(text, bar, stop);
    this.state.hidden = false;
    const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
    let [before, last] = [0, null];
    try {
      for (const file of files) {
        const inside = file.webkitRelativePath || file.name;
        const path = [this.folder(), inside].filter(Boolean).join("/");
        text.textContent = file.name;
        const { done, stop: giveUp } = sendFile(file, path, (share) => {
          bar.value = (before + share * file.size) / total;
        });
        stop.onclick = giveUp;
        const told = await done;
        before += file.size;
        last = file.webkitRelativePath ? told.path.split("/").slice(0, -1).join("/") : told.path;
      }
      tell(files.length === 1 ? `${files[0].name} is in the folder.` : `${files.length} files are in the folder.`);
    } catch (refusal) {
      tell(refusal.message, refusal.status === -1 ? "note" : "error");
      last = null;
    } finally {
      this.busy = false;
      this.state.hidden = true;
    }
    this.sent(last);
  }
}
