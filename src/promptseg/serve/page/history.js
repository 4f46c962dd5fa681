/** Undo, redo, and the list of steps; there is no limit, and both outlast a restart of the server. */

import { byId, make } from "./dom.js";

/** The steps in a list, the current one marked and in sight; those that are shown already stay as they are. */
export class StepList {
  /** In a list element; `button(step, number)` gives a step's button. */
  constructor(list, button) {
    this.list = list;
    this.button = button;
    this.rows = [];
  }

  show(steps, position) {
    let first = 0;
    while (first < this.rows.length && this.rows[first].step === steps[first]) first += 1;
    for (const { row } of this.rows.splice(first)) row.remove();
    for (let k = first; k < steps.length; k++) {
      const button = this.button(steps[k], k);
      const row = make("li", {}, button);
      this.rows.push({ step: steps[k], row, button });
      this.list.append(row);
    }
    this.rows.forEach(({ row, button }, k) => {
      row.className = k > position ? "undone" : "";
      if (k === position) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    const now = this.rows[position];
    if (now) this.list.scrollTop = now.row.offsetTop - this.list.clientHeight / 2;
  }
}

export class History {
  constructor(app) {
    this.app = app;
    this.steps = new StepList(byId("steps"), (step, k) => {
      const text = k === 0 ? "image opened" : step;
      return make("button", { type: "button", class: "step", text, onclick: () => this.goTo(k) });
    });
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
    this.steps.show(steps, position);
  }
}
