/** The list of objects: colour, name, predicted IoU, size; shown or not, locked or not. */

import { byId, iconButton, make } from "./dom.js";
import { ask } from "./status.js";

const hex = (colour) => `#${colour.map((v) => v.toString(16).padStart(2, "0")).join("")}`;
const rgb = (text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16));

export class Objects {
  constructor(app) {
    this.app = app;
    this.list = byId("objects");
    this.sizes = {};
    byId("new-object").addEventListener("click", () => this.add());
  }

  /** Forget what was measured of another image. */
  begin() {
    this.sizes = {};
    this.measured = null;
  }

  /** A new object, current from then on. */
  add() {
    const { case: work } = this.app;
    return work && work.act((since) => work.api.newObject({ since }));
  }

  select(name) {
    const { case: work } = this.app;
    if (name === work.state.current) return Promise.resolve(true);
    return work.act((since) => work.api.changeObject({ object: name, select: true, since }));
  }

  /** The one after the current one. */
  next() {
    const { case: work } = this.app;
    const names = work.state.objects.map((object) => object.name);
    if (names.length) this.select(names[(names.indexOf(work.state.current) + 1) % names.length]);
  }

  rename(name, to) {
    const { case: work } = this.app;
    if (!to || to === name) {
      this.show();
      return;
    }
    const kept = [work.hidden, work.locked].filter((set) => set.has(name));
    const send = (since) => work.api.changeObject({ object: name, name: to, since });
    work.act(async (since) => {
      const change = await send(since);
      for (const set of kept) set.add(to);
      return change;
    });
  }

  colour(name, colour) {
    const { case: work } = this.app;
    work.act((since) => work.api.changeObject({ object: name, colour, since }));
  }

  remove(name) {
    const { case: work, tell } = this.app;
    if (!work || name === null) return Promise.resolve(false);
    if (work.locked.has(name)) {
      tell(`“${name}” is locked. Unlock it first.`, "warning");
      return Promise.resolve(false);
    }
    return work.act((since) => work.api.changeObject({ object: name, remove: true, since }));
  }

  /** Start the current object anew under its name; undo brings back what was there. */
  async reset() {
    const { case: work } = this.app;
    const object = work && work.current;
    if (!object || (!object.prompts.length && object.label === null)) return;
    const { name, colour } = object;
    if (!(await this.remove(name))) return;
    work.act((since) => work.api.newObject({ name, colour, since }));
  }

  toggle(set, name) {
    if (set.has(name)) set.delete(name);
    else set.add(name);
    this.app.case.viewed();
    this.app.case.changed();
  }

  /** Show or hide the current object. */
  toggleCurrent() {
    const { case: work } = this.app;
    if (work && work.state.current !== null) this.toggle(work.hidden, work.state.current);
  }

  toggleAll() {
    const { case: work } = this.app;
    work.allHidden = !work.allHidden;
    work.viewed();
    work.changed();
  }

  /** Ask how large the objects are, once nothing is on its way. */
  async measure() {
    const { case: work } = this.app;
    if (!work || work.busy || work.state.following.length || this.measured === work.revision) return;
    const revision = work.revision;
    this.measured = revision;
    try {
      this.sizes = await work.api.measurements();
    } catch {
      this.measured = null;
      return;
    }
    if (work === this.app.case) this.show();
  }

  /** Look at the next slice that is in doubt. */
  nextDoubt() {
    const { case: work, tell } = this.app;
    const object = work && work.current;
    const slices = (object && object.doubtful_slices) || [];
    if (!slices.length) {
      tell(object ? `No slice of “${object.name}” is in doubt.` : "There is no object yet.");
      return;
    }
    const index = work.index(object.axis);
    const later = slices.find((slice) => slice > index);
    work.scrollTo(object.axis, later === undefined ? slices[0] : later);
  }

  show() {
    const { case: work } = this.app;
    if (this.list.contains(document.activeElement) && document.activeElement.matches(".name")) {
      return; // a name is being written
    }
    const rows = work ? work.state.objects.map((object) => this.row(work, object)) : [];
    if (work && !rows.length) {
      rows.push(make("li", { class: "empty", text: this.app.model?.words
        ? "None yet: draw a box (B), click (P) or say what to look for (/)." : "None yet: draw a box (B) or click (P)." }));
    }
    this.list.replaceChildren(...rows);
    this.list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  row(work, object) {
    const { name } = object;
    const isCurrent = name === work.state.current;
    const [hidden, locked] = [work.hidden.has(name), work.locked.has(name)];
    const colour = make("input", {
      type: "color", value: hex(object.colour), "aria-label": `Colour of ${name}`,
      onchange: (event) => this.colour(name, rgb(event.target.value)),
    });
    const text = make("input", {
      class: "name", value: name, title: name, "aria-label": `Name of object ${name}`, spellcheck: false,
      onfocus: () => this.select(name),
      onchange: (event) => {
        const to = event.target.value.trim();
        this.rename(name, to);
      },
      onblur: () => setTimeout(() => this.show()),
      onkeydown: (event) => {
        if (event.key === "Escape") event.target.value = name;
        if (event.key === "Enter" || event.key === "Escape") event.target.blur();
      },
    });
    const pressed = (value) => ({ "aria-pressed": String(value) });
    const top = make("div", { class: "line" },
      colour, text,
      iconButton(hidden ? "closed" : "eye", `${hidden ? "Show" : "Hide"} ${name}`,
        () => this.toggle(work.hidden, name), pressed(hidden)),
      iconButton(locked ? "lock" : "open", `${locked ? "Unlock" : "Lock"} ${name}`,
        () => this.toggle(work.locked, name), pressed(locked)),
      iconButton("remove", `Remove ${name}`, () => this.confirmed(name)));
    const row = make("li", {
      class: isCurrent ? "object current" : "object", "data-name": name,
      onclick: (event) => event.target.closest("button, input") || this.select(name),
    }, top, this.facts(object));
    if (isCurrent) row.setAttribute("aria-current", "true");
    return row;
  }

  async confirmed(name) {
    if (await ask(`Remove “${name}”? Undo (Ctrl+Z) brings it back.`, "Remove")) this.remove(name);
  }

  facts(object) {
    const line = make("div", { class: "facts" });
    if (object.waiting) line.append(make("span", { text: "mark a second slice" }));
    else if (object.label === null) line.append(make("span", { text: "nothing drawn yet" }));
    else if (object.empty) line.append(make("span", { class: "doubt", text: "nothing was found" }));
    if (object.words) {
      line.append(make("span", {
        text: `“${object.words.text}” ${Math.round(100 * object.words.score)} %`,
        title: "By these words it was found, and how sure the model was of them; no measurement.",
      }));
    }
    if (object.predicted_iou !== null && object.predicted_iou !== undefined) {
      const share = object.predicted_iou.toFixed(2);
      const quality = make("span", {
        class: object.doubtful ? "doubt" : "", text: `predicted IoU ${share}`,
        title: "The model's own estimate of overlap; no measurement.",
      });
      line.append(quality);
    }
    const doubts = (object.doubtful_slices || []).length;
    if (doubts) {
      const text = `${doubts} slice${doubts === 1 ? "" : "s"} in doubt`;
      line.append(make("button", {
        type: "button", class: "link doubt", text, title: "Go to the next one (D)",
        onclick: () => this.select(object.name).then(() => this.nextDoubt()),
      }));
    }
    const size = this.sizes[object.name];
    if (size && object.label !== null) line.append(make("span", { text: sizeText(size) }));
    return line;
  }
}

/** Volume or area, and the axes, of what `measurements` answers. */
export function sizeText(size) {
  const parts = [];
  const number = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
  if (size.volume_ml !== undefined && size.volume_ml !== null) parts.push(`${number(size.volume_ml)} ml`);
  else if (size.area_mm2 > 0 && size.area_mm2 < 0.1) parts.push(`${number(1e6 * size.area_mm2)} µm²`);
  else if (size.area_mm2 !== undefined && size.area_mm2 !== null) parts.push(`${number(size.area_mm2)} mm²`);
  else if (size.voxels !== undefined) parts.push(`${size.voxels} px`);
  if (size.long_axis) {
    const unit = size.unit === "mm" ? "mm" : "px";
    parts.push(`${number(size.long_axis)} × ${number(size.short_axis || 0)} ${unit}`);
  }
  return parts.join(" · ");
}
