/** Mouse, pen and wheel over a view: the tool's, and what every tool has in common. */

import { dragged } from "./levels.js";

const STILL = 4; // pixels within which a press is a click

/**
 * Let `view` be worked on. Left: the tool. Right: window and level by dragging, the tool's `alternate` by
 * clicking. Middle, or left with Shift: pan. Wheel: slices; with Ctrl: zoom.
 */
export function listen(view, app) {
  const { canvas } = view;
  let drag = null;

  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - left, event.clientY - top];
    const [x, y] = view.onSlice(px, py);
    return { px, py, x, y };
  };

  const kindOf = (event) => {
    if (event.button === 1 || (event.button === 0 && event.shiftKey)) return "pan";
    if (event.button === 2) return "window";
    return "tool";
  };

  canvas.addEventListener("contextmenu", (event) => event.preventDefault());

  canvas.addEventListener("pointerdown", (event) => {
    if (!app.case || drag) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    app.setActive(view);
    drag = { kind: kindOf(event), from: at(event), last: at(event), moved: false };
    if (drag.kind === "tool") app.tool.down?.(view, drag.from, event);
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!app.case) return;
    const here = at(event);
    app.hover(view, here);
    if (!drag) {
      app.tool.hover?.(view, here);
      return;
    }
    const far = Math.hypot(here.px - drag.from.px, here.py - drag.from.py);
    drag.moved = drag.moved || far > STILL;
    if (drag.kind === "tool") {
      app.tool.move?.(view, here, event);
    } else if (drag.moved) {
      const [dx, dy] = [here.px - drag.last.px, here.py - drag.last.py];
      if (drag.kind === "pan") view.pan(dx, dy);
      else if (!app.case.image.colour) {
        app.case.setWindow(dragged(app.case.window, dx, dy, app.case.image.range));
      }
    }
    drag.last = here;
  });

  const end = (event) => {
    if (!drag) return;
    const { kind, moved, from } = drag;
    drag = null;
    if (!app.case) return;
    if (kind === "tool") {
      if (event.type === "pointercancel") app.tool.cancel?.();
      else app.tool.up?.(view, at(event), event);
    } else if (kind === "window" && !moved) app.tool.alternate?.(view, from, event);
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => app.hover(view, null));

  let turned = 0;
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!app.case) return;
      event.preventDefault();
      const { px, py } = at(event);
      if (event.ctrlKey || event.metaKey || !app.case.isVolume) {
        view.zoom(Math.exp(-event.deltaY / 400), px, py);
        return;
      }
      turned += event.deltaMode === 0 ? event.deltaY / 60 : event.deltaY;
      const steps = Math.trunc(turned);
      turned -= steps;
      if (steps) app.case.scrollTo(view.axis, view.index + steps);
    },
    { passive: false },
  );
}
