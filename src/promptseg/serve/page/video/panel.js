/** The panels beside a video: objects, what is on this frame, steps, and facts of the file. */

import { byId, iconButton, make } from "../dom.js";
import { StepList } from "../history.js";
import { ask } from "../status.js";
import { clock } from "./timeline.js";

const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

export class Panel {
  constructor(mode) {
    this.mode = mode;
    byId("v-new").addEventListener("click", () => mode.newObject());
    byId("v-doubt").addEventListener("click", () => mode.nextDoubt());
    byId("v-prompted").addEventListener("click", () => mode.nextPrompt());
    byId("v-reset").addEventListener("click", () => mode.resetAll());
  }

  begin(work) {
    byId("v-steps").replaceChildren();
    this.steps = new StepList(byId("v-steps"), (text, k) =>
      make("button", { type: "button", text, title: text, onclick: () => this.mode.goToStep(k) }));
    const { clip } = work;
    const seconds = clip.seconds === null ? "" : ` · ${clock(clip.seconds)}`;
    const rows = [
      ["Video", work.path],
      ["Frames", `${count(clip.places, "frame")} of ${clip.count.toLocaleString("en")}${clip.stride > 1 ? `, every ${clip.stride}.` : ""}${seconds}`],
      ["Size", `${clip.size[1]} × ${clip.size[0]}`],
      ["Rate", clip.rate ? `${Number(clip.rate.toFixed(2))} per second` : "not told"],
      ["Stored as", clip.codec],
      ["Modality", clip.modality === "unknown" ? "unknown" : `${clip.modality}${clip.modality_guessed ? " (guessed)" : ""}`],
      ["Model", work.state.model],
      ["Propagates by", work.state.remembers ? "a memory of each object" : "the mask of the frame before"],
      ["It sees", clip.window],
      ...clip.notes.map((note) => ["Note", note]),
    ];
    byId("v-facts").replaceChildren(
      ...rows.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
  }

  show() {
    const { work } = this.mode;
    this.showObjects(work);
    this.showSteps(work);
    this.showHere();
  }

  showObjects(work) {
    const list = byId("v-objects");
    if (list.contains(document.activeElement) && document.activeElement.matches(".name")) return; // being written
    const rows = work.state.objects.map((object) => this.row(work, object));
    if (!rows.length) rows.push(make("li", { class: "empty", text: "None yet: draw a box (B) or click (P) on any frame." }));
    list.replaceChildren(...rows);
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  row(work, object) {
    const { mode } = this;
    const { name, colour: [red, green, blue] } = object;
    const isCurrent = name === work.state.current;
    const isHidden = work.hidden.has(name);
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = `rgb(${red} ${green} ${blue})`;
    const text = make("input", {
      class: "name", value: name, title: name, "aria-label": `Name of object ${name}`, spellcheck: false,
      onfocus: () => mode.select(name),
      onchange: (event) => mode.rename(name, event.target.value.trim()),
      onblur: () => setTimeout(() => mode.work && this.showObjects(mode.work)),
      onkeydown: (event) => {
        event.stopPropagation();
        if (event.key === "Escape") event.target.value = name;
        if (event.key === "Enter" || event.key === "Escape") event.target.blur();
      },
    });
    const top = make("div", { class: "line" }, swatch, text,
      iconButton(isHidden ? "closed" : "eye", `${isHidden ? "Show" : "Hide"} ${name}`, () => mode.toggle(name), { "aria-pressed": String(isHidden) }),
      iconButton("remove", `Remove ${name}`, () => this.confirmed(name)));
    const row = make("li", {
      class: isCurrent ? "object current" : "object", "data-name": name,
      onclick: (event) => event.target.closest("button, input") || mode.select(name),
    }, top, this.facts(work, object));
    if (isCurrent) row.setAttribute("aria-current", "true");
    return row;
  }

  async confirmed(name) {
    if (await ask(`Remove “${name}”? Undo (Ctrl+Z) brings it back.`, "Remove")) this.mode.remove(name);
  }

  facts(work, object) {
    const line = make("div", { class: "facts" });
    const add = (text, extra = {}) => line.append(make("span", { text, ...extra }));
    if (object.waiting) add(object.followed ? `${count(object.waiting, "correction")} to track` : "not tracked yet", { class: "new" });
    if (!object.prompts.length) add("nothing drawn yet");
    else if (object.followed || object.frames > 1) add(`on ${count(object.frames, "frame")}`);
    if (object.absent) add(`absent on ${object.absent.toLocaleString("en")}`);
    if (object.predicted_iou !== null) {
      add(`predicted IoU ${object.predicted_iou.toFixed(2)}`, { title: "The model's own estimate of overlap, mean over frames; no measurement." });
    }
    if (object.doubtful) {
      line.append(make("button", {
        type: "button", class: "link doubt", text: `${object.doubtful.toLocaleString("en")} in doubt`, title: "Go to the next one (D)",
        onclick: () => this.mode.select(object.name).then(() => this.mode.nextDoubt()),
      }));
    }
    return line;
  }

  showSteps(work) {
    const { steps, position } = work.state;
    byId("v-undo").disabled = position === 0 || Boolean(work.tracking);
    byId("v-redo").disabled = position >= steps.length - 1 || Boolean(work.tracking);
    this.steps.show(steps, position);
  }

  /** What is known of each object on the frame that is shown. */
  showHere() {
    const { work } = this.mode;
    const found = work.masks.get(work.frame) || [];
    const { low_quality: low } = work.state;
    const rows = work.state.objects.flatMap(({ name }) => {
      const one = found.find((entry) => entry.object === name);
      const parts = [];
      if (!one) parts.push(make("span", { text: "–" }));
      else if (!one.crop) parts.push(make("span", { text: "not there" }));
      else parts.push(make("span", { text: `${one.area.toLocaleString("en")} px` }));
      if (one?.crop && one.predicted_iou !== null) {
        parts.push(make("span", { class: one.predicted_iou < low ? "doubt" : "", text: `${Math.round(100 * one.predicted_iou)} %` }));
      }
      if (one && one.presence !== null) parts.push(make("span", { text: `there ${Math.round(100 * one.presence)} %` }));
      return [make("dt", { text: name, title: name }), make("dd", {}, ...parts)];
    });
    byId("v-here").replaceChildren(...(rows.length ? rows : [make("dd", { class: "empty", text: "no object" })]));
  }
}
