/** Looking around: the crosshair, and the window by dragging with the left button. */

import { dragged } from "../levels.js";

/** Puts the crosshair where the mouse is. */
export class NavigateTool {
  constructor(app) {
    this.app = app;
    this.hint = "Drag the crosshair; the other planes follow.";
  }

  down(view, here) {
    this.move(view, here);
  }

  move(view, { x, y }) {
    this.app.look(view, x, y);
  }
}

/** Changes window and level. */
export class WindowTool {
  constructor(app) {
    this.app = app;
    this.hint = "Drag sideways for contrast (width), up and down for brightness (level).";
    this.last = null;
  }

  down(view, here) {
    this.last = here;
  }

  move(view, here) {
    const { case: work } = this.app;
    if (!this.last || work.image.colour) return;
    const [dx, dy] = [here.px - this.last.px, here.py - this.last.py];
    work.setWindow(dragged(work.window, dx, dy, work.image.range));
    this.last = here;
  }

  up() {
    this.last = null;
  }
}
