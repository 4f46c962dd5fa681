/** The views of a case: three planes, or one picture, with their labels and scroll bars. */

import { byId, make } from "./dom.js";
import { listen } from "./pointer.js";
import { ScrollBar } from "./scrollbar.js";
import { View2d } from "./view2d.js";

export class Views {
  constructor(app) {
    this.app = app;
    this.place = byId("views");
    this.views = [];
    this.bars = [];
    this.active = null;
    this.large = null;
  }

  /** Show a case; null shows nothing. */
  show(work) {
    this.place.replaceChildren();
    this.views = [];
    this.bars = [];
    this.labels = [];
    this.large = null;
    if (!work) return;
    for (const axis of work.axes) this.add(work, axis);
    this.place.classList.toggle("single", work.axes.length === 1);
    this.setActive(this.views[0]);
    if (work.axes.length === 1) this.boxOf(this.views[0]).classList.add("large");
  }

  add(work, axis) {
    const { app } = this;
    const plane = work.plane(axis);
    const canvas = make("canvas", {
      class: "image", tabIndex: 0, "data-axis": axis, "aria-label": described(plane),
    });
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-roledescription", "slice view");
    const view = new View2d(canvas, axis, app.style, (shown, brush) => {
      app.toolbar.ruler.drawKept(shown, brush);
      app.tool.draw?.(shown, brush);
    });
    const name = make("button", {
      type: "button", text: plane.name, title: "One plane large, or all (double click or Space)",
      ondblclick: () => this.enlarge(view), onclick: () => this.setActive(view),
    });
    const where = make("span", { "data-where": axis });
    const box = make("div", { class: work.isVolume ? "view" : "view flat", "data-view": axis },
      canvas, make("div", { class: "label" }, name, where));
    this.labels.push(where);
    if (work.isVolume) {
      const bar = make("canvas", { class: "bar", tabIndex: 0, "aria-label": `${plane.name}: slice` });
      bar.setAttribute("role", "slider");
      bar.setAttribute("aria-orientation", "vertical");
      box.append(bar);
      const scroll = new ScrollBar(bar, axis, (index) => app.case.scrollTo(axis, index));
      scroll.show(work);
      this.bars.push(scroll);
    }
    this.place.append(box);
    view.show(work);
    listen(view, app);
    canvas.addEventListener("focus", () => this.setActive(view));
    this.views.push(view);
  }

  boxOf(view) {
    return view.canvas.closest(".view");
  }

  /** The view that keys go to. */
  setActive(view) {
    this.active = view;
    for (const other of this.views) this.boxOf(other).classList.toggle("active", other === view);
  }

  next() {
    const view = this.views[(this.views.indexOf(this.active) + 1) % this.views.length];
    this.setActive(view);
    if (this.large) this.enlarge(view, true);
    view.canvas.focus();
  }

  /** One plane alone, or all of them again. */
  enlarge(view, stay = false) {
    if (this.views.length === 1) return;
    const alone = stay || this.large !== view;
    this.large = alone ? view : null;
    this.place.classList.toggle("single", alone);
    for (const other of this.views) this.boxOf(other).classList.toggle("large", other === view && alone);
  }

  redraw() {
    this.views.forEach((view, k) => {
      view.redraw();
      const { plane, index } = view;
      const millimetres = view.case.image.unit === "mm" ? ` ·\u00a0${plane.step.toFixed(1)}\u00a0mm` : "";
      this.labels[k].textContent = view.case.isVolume ? `${index + 1} / ${plane.count}${millimetres}` : "";
    });
    for (const bar of this.bars) bar.draw();
  }
}

const WORDS = {
  R: "right", L: "left", A: "anterior", P: "posterior", S: "superior", I: "inferior",
};

/** A plane in words, with the patient's sides where they are known. */
function described(plane) {
  if (!plane.sides) return `${plane.name}: image`;
  const [left, right, top, bottom] = plane.sides.map((letter) => WORDS[letter]);
  return `${plane.name}: image; left of the screen: ${left}, right: ${right}, top: ${top}, bottom: ${bottom}`;
}
