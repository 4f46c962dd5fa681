/** Undo, redo, and the list of steps; there is no limit, and both outlast a restart of the server. */

import { byId, make } from "./dom.js";

export class History {
  constructor(app) {
    this.app = app;
    byId("undo").addEventListener("click", () => this.undo());
    byId("redo").addEventListener("click", () => this.redo());
  }

  undo() {
    const { case: work } = this.app;
    return work && work.act((since) => work.api.undo({ since }));
  }

  redo() {
    const { case: work } = this.app;
    return work && work.act((since) => work.api.redo({ since }));
  }

  /** Go to a step by its number. */
  goTo(to) {
    const { case: work } = this.app;
    return work && work.act((since) => work.api.undo({ to, since }));
  }

  show() {
    const { case: work } = this.app;
    const { steps, position } = work ? work.state : { steps: [], position: 0 };
    byId("undo").disabled = position === 0;
    byId("redo").disabled = position >= steps.length - 1;
    const list = byId("steps");
    const rows = steps.map((step, k) => {
      const text = k === 0 ? "image opened" : step;
      const button = make("button", { type: "button", class: "step", text, onclick: () => this.goTo(k) });
      if (k === position) button.setAttribute("aria-current", "step");
      return make("li", { class: k > position ? "undone" : "" }, button);
    });
    list.replaceChildren(...rows);
    const now = rows[position];
    if (now) list.scrollTop = now.offsetTop - list.clientHeight / 2;
  }
}
