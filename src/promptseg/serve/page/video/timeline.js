/** The time line: where each object is, how sure that is, where prompts are, and what a correction changed. */

const RULER = 20;
const GUTTER = 92; // for the names of objects
const [ABSENT, UNSCORED, LOWEST, LEVELS] = [1, 2, 3, 252];
const WARN = "#ffb020";

export class Timeline {
  /** On a canvas with the role of a slider; `goTo(place)`, `select(name)` and `tip(text)` are called. */
  constructor(canvas, { goTo, select, tip }) {
    this.canvas = canvas;
    this.work = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.work) return;
      canvas.setPointerCapture(event.pointerId);
      const row = this.rowAt(event);
      if (event.offsetX < GUTTER && row) select(row.name);
      else this.dragging = true;
      if (row) select(row.name);
      if (this.dragging) goTo(this.placeAt(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.work) return;
      if (this.dragging) goTo(this.placeAt(event));
      this.hover = event.offsetX >= GUTTER ? this.placeAt(event) : null;
      tip(this.hover === null ? "" : this.words(this.hover));
      this.draw();
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        this.dragging = false;
      });
    }
    canvas.addEventListener("pointerleave", () => {
      this.hover = null;
      tip("");
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  show(work) {
    this.work = work;
    this.draw();
  }

  get objects() {
    return this.work ? this.work.state.objects : [];
  }

  get rowHeight() {
    const count = Math.max(1, this.objects.length);
    return Math.max(9, Math.min(22, Math.floor(140 / count)));
  }

  get width() {
    return Math.max(1, this.canvas.clientWidth - GUTTER - 10);
  }

  placeAt({ offsetX }) {
    const share = (offsetX - GUTTER) / this.width;
    return Math.max(0, Math.min(this.work.places - 1, Math.floor(share * this.work.places)));
  }

  rowAt({ offsetY }) {
    return this.objects[Math.floor((offsetY - RULER) / this.rowHeight)] || null;
  }

  /** A place in words: its frame and time, and the objects on it. */
  words(place) {
    const { work } = this;
    const frame = work.frameAt(place);
    const seconds = work.secondsOf(frame);
    const parts = [`frame ${frame}`, seconds === null ? "" : clock(seconds)];
    for (const { name } of this.objects) {
      const level = work.line.get(name)?.levels[place] || 0;
      if (level >= LOWEST) parts.push(`${name} ${Math.round((100 * (level - LOWEST)) / LEVELS)} %`);
      else if (level === UNSCORED) parts.push(name);
      else if (level === ABSENT) parts.push(`${name} absent`);
    }
    return parts.filter(Boolean).join("   ");
  }

  draw() {
    const { canvas, work } = this;
    const ratio = window.devicePixelRatio || 1;
    const height = RULER + Math.max(1, this.objects.length) * this.rowHeight + 6;
    if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    const brush = canvas.getContext("2d");
    brush.scale(ratio, ratio);
    if (!work) return;
    this.drawRuler(brush);
    this.objects.forEach((object, row) => this.drawRow(brush, object, RULER + row * this.rowHeight));
    if (!this.objects.length) this.drawEmpty(brush);
    this.drawChanged(brush);
    if (this.hover !== null && this.hover !== undefined) this.drawLine(brush, this.hover, "rgb(255 255 255 / 25%)", height);
    this.drawHead(brush, height);
    this.describe();
  }

  x(place) {
    return GUTTER + (place / this.work.places) * this.width;
  }

  drawRuler(brush) {
    const { work } = this;
    const least = (70 * work.places) / this.width; // places between two numbers
    const magnitude = 10 ** Math.floor(Math.log10(Math.max(least * work.clip.stride, 1)));
    const step = [1, 2, 5, 10].map((k) => k * magnitude).find((k) => k >= least * work.clip.stride);
    brush.font = "11px system-ui, sans-serif";
    brush.textBaseline = "middle";
    const { first, last, stride } = work.clip;
    for (let frame = Math.ceil(first / step) * step; frame <= last; frame += step) {
      const at = Math.round(this.x((frame - first) / stride)) + 0.5;
      brush.strokeStyle = "#2c3b4b";
      brush.beginPath();
      brush.moveTo(at, RULER - 5);
      brush.lineTo(at, RULER);
      brush.stroke();
      brush.fillStyle = "#93a4b6";
      brush.textAlign = at > GUTTER + this.width - 24 ? "right" : "center";
      brush.fillText(String(frame), at, 8);
    }
    brush.textAlign = "left";
    brush.fillStyle = "#6f8295";
    brush.fillText(stride > 1 ? `1 of ${stride}` : "frame", 8, 8);
  }

  drawEmpty(brush) {
    brush.fillStyle = "#131d28";
    brush.fillRect(GUTTER, RULER + 2, this.width, this.rowHeight - 4);
    brush.fillStyle = "#6f8295";
    brush.font = "12px system-ui, sans-serif";
    brush.textBaseline = "middle";
    brush.fillText("no object yet: draw a box (B) around one", GUTTER + 10, RULER + this.rowHeight / 2);
  }

  drawRow(brush, object, top) {
    const { work } = this;
    const { rowHeight: high, width } = this;
    const isCurrent = object.name === work.state.current;
    const [red, green, blue] = object.colour;
    const bottom = top + high - 2;
    brush.fillStyle = isCurrent ? "#1a2836" : "#131d28";
    brush.fillRect(GUTTER, top + 1, width, high - 3);
    brush.fillStyle = isCurrent ? "#ffffff" : "#93a4b6";
    brush.font = `${isCurrent ? "600 " : ""}12px system-ui, sans-serif`;
    brush.textBaseline = "middle";
    brush.fillText(shortened(brush, object.name, GUTTER - 26), 20, top + high / 2);
    brush.fillStyle = `rgb(${red} ${green} ${blue})`;
    brush.fillRect(8, top + high / 2 - 4, 8, 8);
    const known = work.line.get(object.name);
    if (!known) return;
    const { levels } = known;
    const low = LOWEST + LEVELS * work.state.low_quality;
    const faint = work.hidden.has(object.name) ? 0.35 : 1;
    for (let px = 0; px < width; px++) { // each column tells of its worst frame
      const from = Math.floor((px / width) * work.places);
      const end = Math.max(from + 1, Math.floor(((px + 1) / width) * work.places));
      let [there, absent, worst] = [0, 0, Infinity];
      for (let k = from; k < end; k++) {
        const level = levels[k];
        if (level === ABSENT) absent += 1;
        else if (level > 0) {
          there += 1;
          worst = Math.min(worst, level === UNSCORED ? 255 : level);
        }
      }
      const x = GUTTER + px;
      if (there) {
        const share = 0.35 + (0.65 * (worst - LOWEST)) / LEVELS;
        const tall = Math.max(3, (high - 4) * share);
        brush.fillStyle = `rgb(${red} ${green} ${blue} / ${faint * (0.55 + (0.45 * there) / (end - from))})`;
        brush.fillRect(x, bottom - tall, 1, tall);
        if (worst < low) {
          brush.fillStyle = WARN;
          brush.fillRect(x, bottom - 3, 1, 3);
        }
      } else if (absent) {
        brush.fillStyle = `rgb(${red} ${green} ${blue} / 22%)`;
        brush.fillRect(x, bottom - 2, 1, 2);
      }
    }
    const pending = new Set(known.pending);
    for (const frame of known.prompted) {
      const at = this.x(work.placeOf(frame) + 0.5);
      brush.fillStyle = pending.has(frame) ? "#ffd75e" : "#ffffff";
      brush.beginPath();
      brush.moveTo(at - 4, top + 1);
      brush.lineTo(at + 4, top + 1);
      brush.lineTo(at, top + 7);
      brush.fill();
    }
  }

  /** What the last tracking corrected, below the numbers. */
  drawChanged(brush) {
    brush.fillStyle = "#58b7ff";
    const { work } = this;
    for (const [first, last] of work.state.changed) {
      const left = this.x(work.placeOf(first));
      brush.fillRect(left, RULER - 3, Math.max(1.5, this.x(work.placeOf(last) + 1) - left), 2);
    }
  }

  drawLine(brush, place, colour, height) {
    const at = Math.round(this.x(place + 0.5)) + 0.5;
    brush.strokeStyle = colour;
    brush.lineWidth = 1;
    brush.beginPath();
    brush.moveTo(at, RULER - 4);
    brush.lineTo(at, height);
    brush.stroke();
  }

  drawHead(brush, height) {
    const { place } = this.work;
    this.drawLine(brush, place, "#8fd0ff", height);
    const at = this.x(place + 0.5);
    brush.fillStyle = "#8fd0ff";
    brush.beginPath();
    brush.moveTo(at - 5, RULER - 9);
    brush.lineTo(at + 5, RULER - 9);
    brush.lineTo(at + 5, RULER - 4);
    brush.lineTo(at, RULER + 1);
    brush.lineTo(at - 5, RULER - 4);
    brush.fill();
  }

  /** The same in words, for screen readers. */
  describe() {
    const { work, canvas } = this;
    canvas.setAttribute("aria-valuemin", String(work.clip.first));
    canvas.setAttribute("aria-valuemax", String(work.clip.last));
    canvas.setAttribute("aria-valuenow", String(work.frame));
    canvas.setAttribute("aria-valuetext", this.words(work.place));
  }
}

function shortened(brush, text, width) {
  if (brush.measureText(text).width <= width) return text;
  let short = text;
  while (short && brush.measureText(`${short}…`).width > width) short = short.slice(0, -1);
  return `${short}…`;
}

/** Seconds as people write times. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = (seconds - 60 * Math.floor(seconds / 60)).toFixed(2).padStart(5, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
