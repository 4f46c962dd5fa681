/** Undo, redo, and the list of steps; there is no limit, and both outlast a restart of the server. */

import { byId, make } from "./dom.js";

export class History {
  constructor(app) {
    this.app = app;
    this.rows = [];
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
    let first = 0; // steps that are shown already stay as they are
    while (first < this.rows.length && this.rows[first].step === steps[first]) first += 1;
    for (const { row } of this.rows.splice(first)) row.remove();
    for (let k = first; k < steps.length; k++) {
      const text = k === 0 ? "image opened" : steps[k];
      const button = make("button", { type: "button", class: "step", text, onclick: () => this.goTo(k) });
      const row = make("li", {}, button);
      this.rows.push({ step: steps[k], row, button });
      list.append(row);
    }
    this.rows.forEach(({ row, button }, k) => {
      row.className = k > position ? "undone" : "";
      if (k === position) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    const now = this.rows[position];
    if (now) list.scrollTop = now.row.offsetTop - list.clientHeight / 2;
  }
}
