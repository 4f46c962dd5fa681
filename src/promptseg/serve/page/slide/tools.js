/** Box, click and pan on a slide; the mouse and the middle of the view, which keys aim at. */

import { byId, iconButton } from "../dom.js";

const TOOLS = [
  ["navigate", "Pan (N)", "Drag to move, wheel to zoom.", null],
  ["box", "Box (B)", "Drag a box around an object; Enter sets corners in the middle of the view.", "box"],
  ["point", "Click (P)", "Click what belongs to the object; right-click what does not; Enter clicks in the middle.", "point"],
];

export class Tools {
  constructor(app) {
    this.app = app;
    this.buttons = {};
    this.inside = true;
    this.corner = null; // of a box that is being drawn, in pixels of the slide
    this.other = null;
    this.space = false;
    for (const [name, label] of TOOLS) {
      this.buttons[name] = iconButton(name, label, () => this.choose(name), {
        "aria-pressed": "false", "data-tool": name,
      });
      byId("tools").append(this.buttons[name]);
    }
    byId("inside").addEventListener("click", () => this.setInside(!this.inside));
    this.choose("navigate");
  }

  /** Set out for a slide: what its model takes. */
  begin(work) {
    const { prompts, name: model } = work.state.model;
    for (const [name, label, , kind] of TOOLS) {
      this.buttons[name].disabled = kind !== null && !prompts.includes(kind);
      this.buttons[name].title = this.buttons[name].disabled ? `${label}: ${model} does not take it` : label;
    }
    this.choose(this.buttons.box.disabled ? "point" : "box");
  }

  choose(name) {
    if (this.buttons[name].disabled) {
      this.app.tell(this.buttons[name].title, "warning");
      return;
    }
    this.cancel();
    this.name = name;
    for (const [other, button] of Object.entries(this.buttons)) {
      button.setAttribute("aria-pressed", String(other === name));
    }
    byId("hint").textContent = TOOLS.find(([other]) => other === name)[2];
    byId("slide").classList.toggle("pan", name === "navigate");
  }

  setInside(inside) {
    this.inside = inside;
    byId("inside").setAttribute("aria-pressed", String(inside));
    byId("inside").textContent = inside ? "+ inside" : "− outside";
  }

  cancel() {
    this.corner = this.other = null;
    this.app.viewer?.redraw();
  }

  /** The mouse on a canvas. */
  listen(canvas) {
    const { app } = this;
    let moved = null;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (app.case) app.viewer.zoom(2 ** (-Math.sign(event.deltaY) / 3), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      if (!app.case) return;
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      app.viewer.cross = false;
      const at = [event.offsetX, event.offsetY];
      const pans = event.button === 1 || (event.button === 0 && (this.space || event.shiftKey || this.name === "navigate"));
      if (pans) {
        event.preventDefault();
        moved = at;
      } else if (this.name === "box" && event.button === 0) {
        this.corner = this.other = app.viewer.pixelAt(...at);
        this.object = app.case.currentSoon();
      } else if (this.name === "point" && [0, 2].includes(event.button) && app.viewer.isOn(...at)) {
        this.click(app.viewer.pixelAt(...at), event.button === 2 ? !this.inside : this.inside);
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!app.case) return;
      const at = [event.offsetX, event.offsetY];
      app.showUnder(at);
      if (moved) {
        app.viewer.pan(at[0] - moved[0], at[1] - moved[1]);
        moved = at;
      } else if (this.corner && event.buttons & 1) {
        this.other = app.viewer.pixelAt(...at);
        app.viewer.redraw();
      }
    });
    canvas.addEventListener("pointerup", () => {
      moved = null;
      if (this.corner && !app.viewer.cross) this.finish();
    });
    canvas.addEventListener("pointercancel", () => {
      moved = null;
      this.cancel();
    });
  }

  /** Enter: a corner of a box, or a click, in the middle of the view. */
  enter() {
    const { viewer } = this.app;
    const at = viewer.pixelAt(...viewer.size.map((n) => n / 2));
    viewer.cross = true;
    if (this.name === "point") this.click(at, this.inside);
    else if (this.name === "box" && this.corner) this.finish(at, this.app.case.currentSoon());
    else if (this.name === "box") this.corner = this.other = at;
    viewer.redraw();
  }

  finish(other = this.other, object = this.object) {
    const { corner } = this;
    this.cancel();
    const [x0, y0, x1, y1] = [
      Math.min(corner[0], other[0]), Math.min(corner[1], other[1]),
      Math.max(corner[0], other[0]), Math.max(corner[1], other[1]),
    ];
    const { scale } = this.app.viewer;
    if (Math.max(x1 - x0, y1 - y0) * scale < 4) return; // a click by mistake
    this.app.case.prompt({ object, box: [x0, y0, x1, y1] }, this.app.viewer.view);
  }

  click([x, y], inside) {
    this.app.case.prompt({ points: [[x, y, inside ? 1 : 0]] }, this.app.viewer.view);
  }

  /** Draw the box that is being drawn; by keys its other corner is the middle of the view. */
  draw() {
    if (!this.corner) return;
    const { viewer } = this.app;
    const other = viewer.cross ? viewer.pixelAt(...viewer.size.map((n) => n / 2)) : this.other;
    viewer.drawBox([...this.corner, ...other]);
  }
}
