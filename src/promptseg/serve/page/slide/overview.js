/** The whole slide, small, with a frame around what is seen. */

export class Overview {
  constructor(canvas, app) {
    this.canvas = canvas;
    this.app = app;
    const go = (event) => {
      if (!app.case || !(event.buttons & 1)) return;
      const [left, top, scale] = this.placed;
      app.viewer.look((event.offsetX - left) / scale, (event.offsetY - top) / scale);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    canvas.addEventListener("pointermove", go);
  }

  /** Where the slide is on the canvas: left, top, scale. */
  get placed() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { slide } = this.app.case;
    const scale = Math.min(width / slide.width, height / slide.height);
    return [(width - slide.width * scale) / 2, (height - slide.height * scale) / 2, scale];
  }

  draw() {
    const { canvas, app } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const brush = canvas.getContext("2d");
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const { slide, state, paths } = app.case;
    const [left, top, scale] = this.placed;
    const whole = app.tiles.get(slide.zooms - 1, 0, 0);
    if (whole) brush.drawImage(whole, left, top, slide.width * scale, slide.height * scale);
    for (const { name, outline, colour } of state.objects) {
      const path = paths.get(outline);
      if (!path || !app.case.isVisible(name)) continue;
      const placed = new Path2D();
      placed.addPath(path, new DOMMatrix([scale, 0, 0, scale, left, top]));
      brush.strokeStyle = brush.fillStyle = `rgb(${colour.join(" ")})`;
      brush.fill(placed, "evenodd");
      brush.stroke(placed); // so that what is small is seen, too
    }
    const { view } = app.viewer.view;
    const seen = [left + view[0] * scale, top + view[1] * scale, Math.max(4, view[2] * scale), Math.max(4, view[3] * scale)];
    brush.lineWidth = 3;
    brush.strokeStyle = "rgb(255 255 255 / 80%)";
    brush.strokeRect(...seen);
    brush.lineWidth = 1.5;
    brush.strokeStyle = "#d0312d";
    brush.strokeRect(...seen);
  }
}
