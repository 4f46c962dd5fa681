/** The frame that is looked at, with masks and prompts on it, on a canvas that zooms and pans. */

import { drawClick, oncePerFrame, tint } from "../canvas.js";

const FILL = 0.34;
const STILL = 4; // pixels within which a press is a click

export class Stage {
  /** On a canvas; `mode` has `work`, `tool`, `style`, `inside`, and is told of the wheel and the mouse. */
  constructor(canvas, mode) {
    this.canvas = canvas;
    this.mode = mode;
    this.brush = canvas.getContext("2d", { alpha: false });
    this.redraw = oncePerFrame(() => this.draw());
    this.tint = document.createElement("canvas");
    this.listen();
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  get work() {
    return this.mode.work;
  }

  /** Zoom so that the whole frame is seen. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (this.work && width && height) {
      const [rows, columns] = this.work.clip.size;
      this.scale = Math.min((width - 24) / columns, (height - 24) / rows);
      this.centre = [columns / 2, rows / 2];
    }
    this.redraw();
  }

  /** Where a point of the frame is on the canvas; pixel centres are whole numbers. */
  onCanvas(x, y) {
    return [
      (x + 0.5 - this.centre[0]) * this.scale + this.canvas.clientWidth / 2,
      (y + 0.5 - this.centre[1]) * this.scale + this.canvas.clientHeight / 2,
    ];
  }

  onFrame(px, py) {
    return [
      (px - this.canvas.clientWidth / 2) / this.scale + this.centre[0] - 0.5,
      (py - this.canvas.clientHeight / 2) / this.scale + this.centre[1] - 0.5,
    ];
  }

  /** The pixel that holds a point, kept inside the frame. */
  pixel([x, y]) {
    const [rows, columns] = this.work.clip.size;
    return [Math.max(0, Math.min(columns - 1, Math.round(x))), Math.max(0, Math.min(rows - 1, Math.round(y)))];
  }

  isInside([x, y]) {
    const [rows, columns] = this.work.clip.size;
    return x >= -0.5 && y >= -0.5 && x < columns - 0.5 && y < rows - 0.5;
  }

  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [rows, columns] = this.work.clip.size;
    const scale = Math.max(0.5 * Math.min(width / columns, height / rows), Math.min(this.scale * factor, 60));
    const change = 1 / this.scale - 1 / scale;
    this.centre[0] += (px - width / 2) * change;
    this.centre[1] += (py - height / 2) * change;
    this.scale = scale;
    this.redraw();
  }

  pan(dx, dy) {
    const [rows, columns] = this.work.clip.size;
    this.centre[0] = Math.max(0, Math.min(columns, this.centre[0] - dx / this.scale));
    this.centre[1] = Math.max(0, Math.min(rows, this.centre[1] - dy / this.scale));
    this.redraw();
  }

  draw() {
    const { brush, work } = this;
    const ratio = window.devicePixelRatio || 1;
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.fillStyle = "#000";
    brush.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!work || !this.scale) return;
    const picture = work.frames.get(work.frame);
    const [rows, columns] = work.clip.size;
    const [left, top] = this.onCanvas(-0.5, -0.5);
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (picture) {
      brush.imageSmoothingEnabled = this.scale < 4;
      brush.imageSmoothingQuality = "high";
      brush.drawImage(picture, left, top, columns * this.scale, rows * this.scale);
    }
    this.canvas.dataset.frame = picture ? String(work.frame) : "";
    for (const found of work.masks.get(work.frame) || []) {
      const object = work.object(found.object);
      if (object && found.crop && !work.hidden.has(object.name)) this.drawMask(found, object, ratio);
    }
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.mode.style.prompts) this.drawPrompts();
    this.mode.tool.draw?.(this, brush);
    const broken = work.frames.broken.get(work.frame);
    if (!picture) this.text(broken || "loading ...", this.canvas.clientWidth / 2, 26, "center");
  }

  drawMask({ crop, outline }, { name, colour: [red, green, blue] }, ratio) {
    const { brush, work, mode } = this;
    const isCurrent = name === work.state.current;
    if (mode.style.fill) {
      tint(this.tint, crop, [red, green, blue], FILL, isCurrent);
      const [left, top] = this.onCanvas(crop.x - 0.5, crop.y - 0.5);
      brush.setTransform(ratio, 0, 0, ratio, 0, 0);
      brush.imageSmoothingEnabled = false;
      brush.drawImage(this.tint, left, top, crop.width * this.scale, crop.height * this.scale);
    }
    const [e, f] = this.onCanvas(0, 0);
    const placed = new Path2D();
    placed.addPath(outline, new DOMMatrix([this.scale, 0, 0, this.scale, e, f]));
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.lineWidth = isCurrent ? 2 : 1.25;
    brush.strokeStyle = `rgb(${red} ${green} ${blue})`;
    brush.stroke(placed);
  }

  /** Prompts of the current object on this frame, and one that has no answer yet. */
  drawPrompts() {
    const { work } = this;
    const current = work.current;
    const given = current && !work.hidden.has(current.name) ? current.prompts : [];
    const here = given.filter(({ frame }) => frame === work.frame);
    if (this.mode.asked?.frame === work.frame) here.push(this.mode.asked);
    for (const prompt of here) {
      if (prompt.box) this.box(prompt.box);
      for (const [x, y, label] of prompt.points || []) this.point(x, y, label);
    }
  }

  box([x0, y0, x1, y1], dashes = [5, 4]) {
    const { brush } = this;
    const [left, top] = this.onCanvas(Math.min(x0, x1) - 0.5, Math.min(y0, y1) - 0.5);
    const [right, bottom] = this.onCanvas(Math.max(x0, x1) + 0.5, Math.max(y0, y1) + 0.5);
    brush.lineWidth = 1.25;
    brush.strokeStyle = "#f4f7fb";
    brush.setLineDash(dashes);
    brush.strokeRect(left, top, right - left, bottom - top);
    brush.setLineDash([]);
  }

  point(x, y, label) {
    drawClick(this.brush, ...this.onCanvas(x, y), label);
  }

  text(text, px, py, align = "left", colour = "#dbe5f0") {
    const { brush } = this;
    brush.font = "600 13px system-ui, sans-serif";
    brush.textAlign = align;
    brush.textBaseline = "middle";
    brush.lineWidth = 3;
    brush.strokeStyle = "rgb(0 0 0 / 75%)";
    brush.strokeText(text, px, py);
    brush.fillStyle = colour;
    brush.fillText(text, px, py);
  }

  /** Left: the tool. Right: the opposite of the tool. Middle, or left with Shift: pan. Wheel: frames. */
  listen() {
    const { canvas, mode } = this;
    let drag = null;
    const at = (event) => {
      const { left, top } = canvas.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.work || drag) return;
      event.preventDefault();
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      const place = at(event);
      const pans = event.button === 1 || (event.button === 0 && event.shiftKey);
      drag = { kind: pans ? "pan" : event.button === 2 ? "other" : "tool", from: place, last: place };
      if (drag.kind === "tool" && mode.mayDraw()) mode.tool.down?.(this, this.onFrame(...place), event);
      else if (drag.kind === "tool") drag.kind = "nothing";
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.work) return;
      const place = at(event);
      mode.hover(this.onFrame(...place));
      if (!drag) return;
      if (drag.kind === "pan") this.pan(place[0] - drag.last[0], place[1] - drag.last[1]);
      if (drag.kind === "tool") mode.tool.move?.(this, this.onFrame(...place), event);
      drag.last = place;
    });
    const end = (event) => {
      if (!drag) return;
      const { kind, from } = drag;
      drag = null;
      if (!this.work) return;
      const place = at(event);
      if (event.type === "pointercancel") mode.tool.cancel?.();
      else if (kind === "tool") mode.tool.up?.(this, this.onFrame(...place), event);
      else if (kind === "other" && Math.hypot(place[0] - from[0], place[1] - from[1]) <= STILL && mode.mayDraw()) {
        mode.tool.other?.(this, this.onFrame(...from), event);
      }
      this.redraw();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => mode.hover(null));
    let turned = 0;
    canvas.addEventListener("wheel", (event) => {
      if (!this.work) return;
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) {
        this.zoom(Math.exp(-event.deltaY / 400), ...at(event));
        return;
      }
      turned += event.deltaMode === 0 ? event.deltaY / 60 : event.deltaY;
      const steps = Math.trunc(turned);
      turned -= steps;
      if (steps) mode.step(steps);
    }, { passive: false });
  }
}
