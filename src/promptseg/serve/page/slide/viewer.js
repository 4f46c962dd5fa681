/** The slide on a canvas: tiles of the zoom that fits, objects, prompts, and a scale bar. */

import { drawClick, oncePerFrame } from "../canvas.js";

const FILL = 0.28;
const NICE = [1, 2, 5, 10];
const MOST = 16; // pixels of the screen for one of the slide

export class Viewer {
  /** On a canvas, for an app; `drawTool(brush)` draws the tool at work over everything. */
  constructor(canvas, app, drawTool) {
    this.canvas = canvas;
    this.app = app;
    this.drawTool = drawTool;
    this.brush = canvas.getContext("2d", { alpha: false });
    this.redraw = oncePerFrame(() => this.draw());
    this.centre = [0, 0];
    this.scale = 0;
    this.cross = false; // what keys aim at is the middle of the view
    new ResizeObserver(() => this.resized()).observe(canvas);
  }

  get slide() {
    return this.app.case.slide;
  }

  get size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  get ratio() {
    return window.devicePixelRatio || 1;
  }

  resized() {
    const [width, height] = this.size;
    this.canvas.width = Math.max(1, Math.round(width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(height * this.ratio));
    if (!this.scale) this.fit();
    this.redraw();
  }

  /** See the whole slide. */
  fit() {
    const [width, height] = this.size;
    if (!this.app.case || !width || !height) return;
    this.scale = this.least;
    this.centre = [this.slide.width / 2, this.slide.height / 2];
    this.redraw();
  }

  get least() {
    const [width, height] = this.size;
    return Math.min((width - 24) / this.slide.width, (height - 24) / this.slide.height, 1);
  }

  /** Where a point of the slide, counted from the corner of its first pixel, is on the canvas. */
  onCanvas(x, y) {
    const [width, height] = this.size;
    return [(x - this.centre[0]) * this.scale + width / 2, (y - this.centre[1]) * this.scale + height / 2];
  }

  onSlide(px, py) {
    const [width, height] = this.size;
    return [(px - width / 2) / this.scale + this.centre[0], (py - height / 2) / this.scale + this.centre[1]];
  }

  /** The pixel of the slide at a place of the canvas, kept on the slide. */
  pixelAt(px, py) {
    const [x, y] = this.onSlide(px, py);
    const inside = (value, count) => Math.max(0, Math.min(count - 1, Math.floor(value)));
    return [inside(x, this.slide.width), inside(y, this.slide.height)];
  }

  isOn(px, py) {
    const [x, y] = this.onSlide(px, py);
    return x >= 0 && y >= 0 && x < this.slide.width && y < this.slide.height;
  }

  /** What is looked at, as prompts name it. */
  get view() {
    const [width, height] = this.size;
    const [x, y] = this.onSlide(0, 0);
    const zoom = Math.max(0, Math.round(Math.log2(1 / this.scale)));
    return { view: [x, y, width / this.scale, height / this.scale], zoom };
  }

  zoom(factor, px = this.size[0] / 2, py = this.size[1] / 2) {
    const [width, height] = this.size;
    const scale = Math.max(this.least / 2, Math.min(MOST, this.scale * factor));
    const change = 1 / this.scale - 1 / scale;
    this.scale = scale;
    this.look(this.centre[0] + (px - width / 2) * change, this.centre[1] + (py - height / 2) * change);
  }

  /** One pixel of the slide to so many of the screen. */
  setScale(scale) {
    this.zoom(scale / this.scale);
  }

  pan(dx, dy) {
    this.look(this.centre[0] - dx / this.scale, this.centre[1] - dy / this.scale);
  }

  /** Put a point of the slide into the middle. */
  look(x, y) {
    this.centre = [Math.max(0, Math.min(this.slide.width, x)), Math.max(0, Math.min(this.slide.height, y))];
    this.redraw();
  }

  draw() {
    const { brush } = this;
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.fillStyle = "#05080c";
    brush.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.app.case || !this.scale) return;
    this.drawTiles();
    for (const object of this.app.case.state.objects) this.drawObject(object);
    brush.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    if (this.app.style.prompts) this.drawPrompts();
    this.drawTool(brush);
    if (this.cross) this.drawCross();
    this.drawScale();
    this.app.overview.draw();
  }

  /** Tiles from the coarsest to the zoom that fits: what is not there yet is seen coarser. */
  drawTiles() {
    const { brush, ratio, slide } = this;
    const { tiles } = this.app;
    const exact = Math.floor(Math.log2(1 / (this.scale * ratio)) + 0.01);
    const zoom = Math.max(0, Math.min(slide.zooms - 1, exact));
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.fillStyle = "#f4f4f2";
    const [left, top] = this.onCanvas(0, 0);
    brush.fillRect(left, top, slide.width * this.scale, slide.height * this.scale);
    brush.imageSmoothingEnabled = this.scale < 2;
    brush.imageSmoothingQuality = "high";
    const wanted = [];
    for (let level = slide.zooms - 1; level >= zoom; level--) {
      for (const [column, row] of this.seen(level)) {
        const tile = tiles.get(level, column, row);
        if (level === zoom || level === slide.zooms - 1) wanted.push([level, column, row]);
        if (!tile) continue;
        const step = slide.tile * 2 ** level;
        const [x, y] = this.onCanvas(column * step, row * step);
        const width = Math.min(step, slide.width - column * step) * this.scale;
        const height = Math.min(step, slide.height - row * step) * this.scale;
        brush.drawImage(tile, x, y, width, height);
      }
    }
    tiles.want(wanted);
  }

  /** Columns and rows of tiles that are seen, those in the middle first. */
  seen(zoom) {
    const step = this.slide.tile * 2 ** zoom;
    const [width, height] = this.size;
    const [x0, y0] = this.onSlide(0, 0);
    const [x1, y1] = this.onSlide(width, height);
    const last = (count) => Math.ceil(count / step) - 1;
    const found = [];
    for (let row = Math.max(0, Math.floor(y0 / step)); row <= Math.min(last(this.slide.height), Math.floor(y1 / step)); row++) {
      for (let column = Math.max(0, Math.floor(x0 / step)); column <= Math.min(last(this.slide.width), Math.floor(x1 / step)); column++) {
        found.push([column, row]);
      }
    }
    const away = ([column, row]) => Math.hypot((column + 0.5) * step - this.centre[0], (row + 0.5) * step - this.centre[1]);
    return found.sort((a, b) => away(a) - away(b));
  }

  drawObject({ name, outline, colour: [red, green, blue] }) {
    const work = this.app.case;
    const path = work.paths.get(outline);
    if (!path || !work.isVisible(name)) return;
    const { brush, ratio } = this;
    const current = name === work.state.current;
    const [left, top] = this.onCanvas(0, 0);
    const placed = new Path2D();
    placed.addPath(path, new DOMMatrix([this.scale, 0, 0, this.scale, left, top]));
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.app.style.fill) {
      brush.fillStyle = `rgb(${red} ${green} ${blue} / ${FILL * (current ? 1 : 0.75)})`;
      brush.fill(placed, "evenodd");
    }
    brush.lineWidth = current ? 2 : 1.25;
    brush.strokeStyle = `rgb(${red} ${green} ${blue})`;
    brush.stroke(placed);
  }

  /** Prompts of the current object, and those that have no answer yet. */
  drawPrompts() {
    const work = this.app.case;
    const current = work.state.objects.find(({ name }) => name === work.state.current);
    const given = current && work.isVisible(current.name) ? current.prompts : [];
    for (const prompt of [...given, ...work.asked]) {
      if (prompt.box) this.drawBox(prompt.box);
      for (const [x, y, label] of prompt.points || []) this.drawPoint(x, y, label);
    }
  }

  /** A box whose ends are pixels inside it. */
  drawBox([x0, y0, x1, y1]) {
    const { brush } = this;
    const [left, top] = this.onCanvas(Math.min(x0, x1), Math.min(y0, y1));
    const [right, bottom] = this.onCanvas(Math.max(x0, x1) + 1, Math.max(y0, y1) + 1);
    brush.lineWidth = 3;
    brush.strokeStyle = "rgb(255 255 255 / 70%)"; // slides are bright
    brush.strokeRect(left, top, right - left, bottom - top);
    brush.lineWidth = 1.5;
    brush.strokeStyle = "#0b1a2b";
    brush.setLineDash([5, 4]);
    brush.strokeRect(left, top, right - left, bottom - top);
    brush.setLineDash([]);
  }

  drawPoint(x, y, label) {
    drawClick(this.brush, ...this.onCanvas(x + 0.5, y + 0.5), label);
  }

  drawCross() {
    const { brush } = this;
    const [x, y] = this.size.map((n) => Math.round(n / 2) + 0.5);
    for (const [width, colour] of [[3, "rgb(255 255 255 / 70%)"], [1, "#0b1a2b"]]) {
      brush.lineWidth = width;
      brush.strokeStyle = colour;
      brush.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        brush.moveTo(x + 4 * dx, y + 4 * dy);
        brush.lineTo(x + 14 * dx, y + 14 * dy);
      }
      brush.stroke();
    }
  }

  /** [length in pixels of the screen, text] of the scale bar. */
  get bar() {
    const microns = this.slide.microns ? this.slide.microns[0] : null;
    const unit = (microns || 1) / this.scale; // of one pixel of the screen
    const rough = 140 * unit;
    const ten = 10 ** Math.floor(Math.log10(rough));
    const nice = ten * Math.max(...NICE.filter((n) => n * ten <= rough));
    const text = microns === null ? `${nice} px` : nice >= 1000 ? `${nice / 1000} mm` : `${nice} µm`;
    return [nice / unit, text];
  }

  drawScale() {
    const { brush } = this;
    const [length, text] = this.bar;
    const [width, height] = this.size;
    const [right, y] = [width - 18, height - 18];
    brush.fillStyle = "rgb(8 14 22 / 78%)";
    brush.fillRect(right - length - 10, y - 24, length + 20, 34);
    brush.strokeStyle = brush.fillStyle = "#fff";
    brush.lineWidth = 2;
    brush.beginPath();
    brush.moveTo(right - length, y - 5);
    brush.lineTo(right - length, y);
    brush.lineTo(right, y);
    brush.lineTo(right, y - 5);
    brush.stroke();
    brush.font = "600 12px system-ui, sans-serif";
    brush.textAlign = "center";
    brush.textBaseline = "alphabetic";
    brush.fillText(text, right - length / 2, y - 8);
    this.canvas.dataset.scale = text;
  }
}
