/** The tools of videos: a box, clicks, and a stroke whose bounding box is the prompt. */

const LEAST = 1; // pixels

export class BoxTool {
  constructor(mode) {
    this.mode = mode;
    this.needs = "box";
    this.hint = "Drag a box around the object on this frame.";
    this.cancel();
  }

  cancel() {
    this.from = this.to = null;
  }

  down(stage, at) {
    this.from = this.to = stage.pixel(at);
    this.frame = stage.work.frame;
    this.object = stage.work.currentSoon();
  }

  move(stage, at) {
    if (!this.from) return;
    this.to = stage.pixel(at);
    stage.redraw();
  }

  up() {
    const { from, to, frame, object } = this;
    this.cancel();
    if (!from) return;
    const [x0, x1] = [from[0], to[0]].sort((a, b) => a - b);
    const [y0, y1] = [from[1], to[1]].sort((a, b) => a - b);
    if (x1 - x0 < LEAST || y1 - y0 < LEAST) return;
    this.mode.prompt({ frame, object, box: [x0, y0, x1, y1] });
  }

  draw(stage, brush) {
    if (!this.from || stage.work.frame !== this.frame) return;
    stage.box([...this.from, ...this.to], []);
    const [px, py] = stage.onCanvas(...this.to);
    const [wide, high] = [0, 1].map((k) => Math.abs(this.to[k] - this.from[k]) + 1);
    stage.text(`${wide} × ${high}`, px + 10, py + 12);
    brush.setLineDash([]);
  }
}

export class PointTool {
  constructor(mode) {
    this.mode = mode;
    this.needs = "point";
    this.hint = "Click inside the object; right-click (or T, then click) what does not belong to it.";
  }

  up(stage, at, event) {
    this.click(stage, at, this.mode.inside !== (event.altKey || event.ctrlKey));
  }

  other(stage, at) {
    this.click(stage, at, !this.mode.inside);
  }

  click(stage, at, inside) {
    if (!stage.isInside(at)) return;
    this.mode.prompt({ frame: stage.work.frame, points: [[...stage.pixel(at), inside ? 1 : 0]] });
  }
}

export class StrokeTool {
  constructor(mode) {
    this.mode = mode;
    this.needs = "box";
    this.hint = "Paint a stroke over the object: its bounding box is the prompt.";
    this.cancel();
  }

  cancel() {
    this.way = null;
  }

  down(stage, at) {
    this.way = [stage.pixel(at)];
    this.frame = stage.work.frame;
    this.object = stage.work.currentSoon();
  }

  move(stage, at) {
    if (!this.way) return;
    const to = stage.pixel(at);
    const last = this.way[this.way.length - 1];
    if (to[0] !== last[0] || to[1] !== last[1]) this.way.push(to);
    stage.redraw();
  }

  up() {
    const { way, frame, object } = this;
    this.cancel();
    if (way && way.length > 1) this.mode.prompt({ frame, object, stroke: way, box: this.boundsOf(way) });
  }

  boundsOf(way) {
    const [xs, ys] = [0, 1].map((k) => way.map((point) => point[k]));
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  draw(stage, brush) {
    if (!this.way || stage.work.frame !== this.frame) return;
    brush.lineWidth = Math.max(4, stage.scale);
    brush.lineCap = brush.lineJoin = "round";
    brush.strokeStyle = "rgb(255 215 94 / 75%)";
    brush.beginPath();
    for (const [x, y] of this.way) brush.lineTo(...stage.onCanvas(x, y));
    brush.stroke();
    brush.lineCap = "butt";
    brush.lineJoin = "miter";
    stage.box(this.boundsOf(this.way), [2, 3]);
  }
}
