/** One view: a slice with what lies on it, on a canvas that zooms and pans. */

import { drawClick, oncePerFrame, tint } from "./canvas.js";
import { outlineOf } from "./masks.js";
import { paint } from "./levels.js";
import { place } from "./plane.js";

const FILL = 0.32;
const PREVIEW = [200, 255, 0]; // the colour of no object

export class View2d {
  /**
   * On a canvas, of slices along `axis` of a case.
   *
   * `drawTool(view, brush)` draws the tool at work over everything; `style` holds switches: `smooth`,
   * `fill`, `crosshair`, `prompts`.
   */
  constructor(canvas, axis, style, drawTool) {
    this.canvas = canvas;
    this.brush = canvas.getContext("2d", { alpha: false });
    this.redraw = oncePerFrame(() => this.draw());
    this.axis = axis;
    this.style = style;
    this.drawTool = drawTool;
    this.picture = document.createElement("canvas");
    this.tint = document.createElement("canvas");
    this.outlines = new Map();
    this.case = null;
    this.preview = null; // {index, crop}
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  /** Show a case; null shows nothing. */
  show(work) {
    this.case = work;
    this.drawn = null;
    this.preview = null;
    this.outlines.clear();
    this.fit();
  }

  get plane() {
    return this.case.plane(this.axis);
  }

  get index() {
    return this.case.index(this.axis);
  }

  /** Zoom so that the whole slice is seen. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (this.case && width && height) {
      const plane = this.plane;
      this.scale = Math.min((width - 24) / plane.width, (height - 24) / plane.height);
      this.centre = [plane.width / 2, plane.height / 2];
    }
    this.redraw();
  }

  /** Slice to canvas, in pixels of the page: [a, b, c, d, e, f]. */
  get matrix() {
    const [a, b, c, d, e, f] = this.plane.matrix;
    const s = this.scale;
    const left = this.canvas.clientWidth / 2 - this.centre[0] * s;
    const top = this.canvas.clientHeight / 2 - this.centre[1] * s;
    return [a * s, b * s, c * s, d * s, e * s + left, f * s + top];
  }

  /** Where a point of the slice is on the canvas. */
  onCanvas(x, y) {
    const [a, b, c, d, e, f] = this.matrix;
    return [a * x + c * y + e, b * x + d * y + f];
  }

  /** The point of the slice at a place of the canvas. */
  onSlice(px, py) {
    const u = (px - this.canvas.clientWidth / 2) / this.scale + this.centre[0];
    const v = (py - this.canvas.clientHeight / 2) / this.scale + this.centre[1];
    return this.plane.toSlice(u, v);
  }

  zoom(factor, px, py) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const least = 0.5 * Math.min(width / this.plane.width, height / this.plane.height);
    const scale = Math.max(least, Math.min(this.scale * factor, 80 / Math.min(...this.plane.pixel)));
    const change = 1 / this.scale - 1 / scale;
    this.centre[0] += (px - width / 2) * change;
    this.centre[1] += (py - height / 2) * change;
    this.scale = scale;
    this.redraw();
  }

  pan(dx, dy) {
    this.centre[0] = Math.max(0, Math.min(this.plane.width, this.centre[0] - dx / this.scale));
    this.centre[1] = Math.max(0, Math.min(this.plane.height, this.centre[1] - dy / this.scale));
    this.redraw();
  }

  draw() {
    const brush = this.brush;
    const ratio = window.devicePixelRatio || 1;
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.fillStyle = "#000";
    brush.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.case || !this.scale) return;
    this.there = this.prepare();
    if (this.there) {
      this.place(brush, ratio);
      brush.imageSmoothingEnabled = this.style.smooth;
      brush.imageSmoothingQuality = "high";
      brush.drawImage(this.picture, -0.5, -0.5);
    }
    for (const { name, colour } of this.case.state.objects) {
      const crop = this.cropOf(name);
      if (crop) this.drawObject(crop, colour, ratio, name === this.case.state.current, name);
    }
    const foreseen = this.preview?.index === this.index && this.preview.crop;
    for (const crop of [foreseen, this.editedCrop(null)]) {
      if (crop) this.drawObject(crop, PREVIEW, ratio, true, null);
    }
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.style.crosshair && this.case.isVolume) this.drawCrosshair(brush);
    if (this.style.prompts) this.drawPrompts(brush);
    this.drawTool(this, brush);
    this.drawSides(brush);
    if (!this.there) this.drawText(brush, "loading ...", this.canvas.clientWidth / 2, 24, "center");
  }

  place(brush, ratio) {
    brush.setTransform(...this.matrix.map((value) => value * ratio));
  }

  /** The slice in its window; false while its voxels are on their way. */
  prepare() {
    const { slices, image, window: shown } = this.case;
    const key = `${this.index} ${shown.lower} ${shown.upper}`;
    if (this.drawn === key) return true;
    const values = slices.slice(this.axis, this.index);
    if (!values) return false;
    const { columns, rows } = this.plane;
    if (this.picture.width !== columns || this.picture.height !== rows || !this.pixels) {
      this.picture.width = columns;
      this.picture.height = rows;
      this.pixels = new ImageData(columns, rows);
    }
    paint(values, image.colour, shown, this.pixels);
    this.picture.getContext("2d").putImageData(this.pixels, 0, 0);
    this.drawn = key;
    return true;
  }

  /** What is shown of an object on this slice. */
  cropOf(name) {
    if (!this.case.isVisible(name)) return null;
    const edited = this.editedCrop(name);
    if (edited) return edited;
    const mask = this.case.masks.get(name);
    if (!mask) return null;
    const key = `${name} ${this.index} ${mask.version}`;
    const known = this.outlines.get(name);
    if (known && known.key === key && known.mask === mask) return known.crop;
    const crop = mask.slice(this.axis, this.index);
    this.outlines.set(name, { key, mask, crop, outline: crop && outlineOf(crop) });
    return crop;
  }

  /** This slice of an object with what is being painted on it; null where nothing is. */
  editedCrop(name) {
    const data = this.case.edited(name, this.axis, this.index);
    return data && { x: 0, y: 0, width: this.plane.columns, height: this.plane.rows, data };
  }

  drawObject(crop, [red, green, blue], ratio, isCurrent, name) {
    const brush = this.brush;
    const known = this.outlines.get(name);
    const outline = known && known.crop === crop ? known.outline : outlineOf(crop);
    if (this.style.fill) {
      tint(this.tint, crop, [red, green, blue], FILL, isCurrent);
      this.place(brush, ratio);
      brush.imageSmoothingEnabled = false;
      brush.drawImage(this.tint, crop.x - 0.5, crop.y - 0.5);
    }
    const placed = new Path2D();
    placed.addPath(outline, new DOMMatrix(this.matrix));
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (name === null) {  // it lies on bright and on dark
      brush.lineWidth = 5;
      brush.strokeStyle = "rgb(0 0 0 / 60%)";
      brush.stroke(placed);
    }
    brush.lineWidth = isCurrent ? 2 : 1.25;
    brush.strokeStyle = `rgb(${red} ${green} ${blue})`;
    brush.stroke(placed);
  }

  drawCrosshair(brush) {
    const [px, py] = this.onCanvas(...this.plane.ofVolume(this.case.crosshair));
    const { clientWidth: width, clientHeight: height } = this.canvas;
    brush.strokeStyle = "rgb(120 200 255 / 55%)";
    brush.lineWidth = 1;
    brush.beginPath();
    const gap = 10;
    const [x, y] = [Math.round(px) + 0.5, Math.round(py) + 0.5];
    for (const [x0, y0, x1, y1] of [
      [0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height],
    ]) {
      brush.moveTo(x0, y0);
      brush.lineTo(x1, y1);
    }
    brush.stroke();
  }

  /** Prompts of the current object on this slice, and those that have no answer yet. */
  drawPrompts(brush) {
    const current = this.case.current;
    const given = current && this.case.isVisible(current.name) ? current.prompts : [];
    for (const prompt of [...given, ...this.case.asked]) {
      if (prompt.kind === "box3d") {
        this.drawBox3d(brush, prompt.box3d);
      } else if (prompt.axis === this.axis && (prompt.slice ?? 0) === this.index) {
        if (prompt.box) this.drawBox(brush, prompt.box);
        for (const [x, y, label] of prompt.points || []) this.drawPoint(brush, x, y, label);
        for (const which of ["long", "short"]) {
          if (prompt[which]) this.drawLine(brush, prompt[which]);
        }
      }
    }
  }

  /** A box whose ends are pixels inside it. */
  drawBox(brush, [x0, y0, x1, y1], dashed = [5, 4]) {
    const [left, top] = this.onCanvas(Math.min(x0, x1) - 0.5, Math.min(y0, y1) - 0.5);
    const [right, bottom] = this.onCanvas(Math.max(x0, x1) + 0.5, Math.max(y0, y1) + 0.5);
    brush.lineWidth = 1.25;
    brush.strokeStyle = "#f4f7fb";
    brush.setLineDash(dashed);
    brush.strokeRect(left, top, right - left, bottom - top);
    brush.setLineDash([]);
  }

  /** Where a box in space, in the image's own coordinates whatever axis it is answered along, meets this slice. */
  drawBox3d(brush, [x0, y0, z0, x1, y1, z1]) {
    const first = [z0, y0, x0];
    const last = [z1, y1, x1];
    const along = place(this.axis);
    const [low, high] = [first[along], last[along]].sort((a, b) => a - b);
    if (this.index < low || this.index > high) return;
    this.drawBox(brush, [...this.plane.ofVolume(first), ...this.plane.ofVolume(last)], [2, 3]);
  }

  drawPoint(brush, x, y, label) {
    drawClick(brush, ...this.onCanvas(x, y), label);
  }

  drawLine(brush, [[x0, y0], [x1, y1]], text = "", colour = "#ffd75e") {
    const [from, to] = [this.onCanvas(x0, y0), this.onCanvas(x1, y1)];
    brush.strokeStyle = colour;
    brush.lineWidth = 1.75;
    brush.beginPath();
    brush.moveTo(...from);
    brush.lineTo(...to);
    brush.stroke();
    for (const [px, py] of [from, to]) {
      brush.beginPath();
      brush.arc(px, py, 3, 0, 2 * Math.PI);
      brush.stroke();
    }
    if (text) this.drawText(brush, text, to[0] + 8, to[1] - 6, "left", colour);
  }

  drawText(brush, text, px, py, align, colour = "#dbe5f0") {
    brush.font = "600 13px system-ui, sans-serif";
    brush.textAlign = align;
    brush.textBaseline = "middle";
    brush.lineWidth = 3;
    brush.strokeStyle = "rgb(0 0 0 / 75%)";
    brush.strokeText(text, px, py);
    brush.fillStyle = colour;
    brush.fillText(text, px, py);
  }

  drawSides(brush) {
    const { sides } = this.plane;
    if (!sides) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [left, right, top, bottom] = sides;
    this.drawText(brush, left, 8, height / 2, "left");
    this.drawText(brush, right, width - 8, height / 2, "right");
    this.drawText(brush, top, width / 2, width < 480 ? 32 : 14, "center"); // below the plane's name
    this.drawText(brush, bottom, width / 2, height - 12, "center");
  }
}
