/** The bar beside a view: where it is in the stack, where the object lies, and where it is in doubt. */

const COLOURS = { sure: "#2f7d5b", doubtful: "#ffb020", prompted: "#ffffff", track: "#18222f" };

export class ScrollBar {
  /** On a canvas with the role of a slider; `scrollTo(index)` is called when it is moved. */
  constructor(canvas, axis, scrollTo) {
    this.canvas = canvas;
    this.axis = axis;
    this.scrollTo = scrollTo;
    this.case = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.follow(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && this.follow(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  show(work) {
    this.case = work;
    this.draw();
  }

  get count() {
    return this.case.plane(this.axis).count;
  }

  follow(event) {
    if (!this.case) return;
    const { top, height } = this.canvas.getBoundingClientRect();
    const share = (event.clientY - top) / height;
    this.scrollTo(Math.max(0, Math.min(this.count - 1, Math.floor(share * this.count))));
  }

  key(event) {
    if (!this.case) return;
    const index = this.case.index(this.axis);
    const to = {
      ArrowUp: index - 1, ArrowDown: index + 1, PageUp: index - 10, PageDown: index + 10,
      Home: 0, End: this.count - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.scrollTo(Math.max(0, Math.min(this.count - 1, to)));
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.canvas.width = Math.max(1, width * ratio);
    this.canvas.height = Math.max(1, height * ratio);
    const brush = this.canvas.getContext("2d");
    brush.scale(ratio, ratio);
    brush.fillStyle = COLOURS.track;
    brush.fillRect(0, 0, width, height);
    if (!this.case) return;
    const index = this.case.index(this.axis);
    const per = height / this.count;
    const mark = (slice, colour, left, wide) => {
      brush.fillStyle = colour;
      brush.fillRect(left, slice * per, wide, Math.max(per, 2));
    };
    const object = this.case.current;
    if (object && object.axis === this.axis && object.quality) {
      for (const slice of Object.keys(object.quality)) mark(Number(slice), COLOURS.sure, 2, width - 4);
      for (const slice of object.doubtful_slices) mark(slice, COLOURS.doubtful, 2, width - 4);
      for (const slice of object.prompted) mark(slice, COLOURS.prompted, width - 4, 3);
    }
    brush.strokeStyle = "#8fd0ff";
    brush.lineWidth = 2;
    const tall = Math.max(per, 8);
    const top = Math.min(Math.max((index + 0.5) * per - tall / 2, 1), height - tall - 1);
    brush.strokeRect(1, top, width - 2, tall);
    this.describe(index, object);
  }

  /** The same in words, for screen readers. */
  describe(index, object) {
    const doubtful =
      object && object.axis === this.axis && (object.doubtful_slices || []).includes(index);
    this.canvas.setAttribute("aria-valuemin", "1");
    this.canvas.setAttribute("aria-valuemax", String(this.count));
    this.canvas.setAttribute("aria-valuenow", String(index + 1));
    const text = `slice ${index + 1} of ${this.count}${doubtful ? ", in doubt" : ""}`;
    this.canvas.setAttribute("aria-valuetext", text);
  }
}
