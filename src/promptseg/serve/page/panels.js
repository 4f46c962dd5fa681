/** The small panels: window and level, display, facts of the image, and what is under the mouse. */

import { byId, make } from "./dom.js";
import { byLevel, firstWindow, levelOf } from "./levels.js";
import { isInside, pixelOf } from "./tools/pixel.js";

/** The modality, and whether somebody said so. */
function modalityOf({ modality, modality_guessed: guessed }) {
  if (modality === "unknown") return "modality unknown";
  return guessed ? `${modality} (guessed)` : modality;
}

export class Panels {
  constructor(app) {
    this.app = app;
    for (const id of ["width", "level"]) byId(id).addEventListener("change", () => this.typed());
    byId("presets").addEventListener("change", (event) => {
      if (event.target.value !== "") this.preset(Number(event.target.value));
    });
    for (const name of ["fill", "crosshair", "prompts", "smooth"]) {
      byId(`style-${name}`).addEventListener("change", (event) => this.setStyle(name, event.target.checked));
    }
  }

  /** Set out for a case. */
  begin(work) {
    const { image } = work;
    byId("levels").hidden = image.colour;
    const named = image.modality === "CT" ? Object.entries(this.app.info.windows) : [];
    this.presets = [
      ["as the model sees it", () => firstWindow(image)],
      ["all values", () => ({ lower: image.range[0], upper: Math.max(image.range[1], image.range[0] + 1) })],
      ...named.map(([name, { width, level }]) => [`${name}  ${width} / ${level}`, () => byLevel(width, level)]),
    ];
    byId("presets").replaceChildren(
      make("option", { value: "", text: "Presets ..." }),
      ...this.presets.map(([text], k) => make("option", { value: String(k), text: k < 10 ? `${k}   ${text}` : text })));
    byId("model").textContent = `${work.state.model} · ${modalityOf(image)}`;
    this.showFacts(work);
    this.showWindow();
    this.showUnder(null, null);
  }

  preset(number) {
    const { case: work } = this.app;
    if (!work || work.image.colour || !this.presets[number]) return;
    work.setWindow(this.presets[number][1]());
    byId("presets").value = String(number);
  }

  typed() {
    const { case: work } = this.app;
    const [width, level] = ["width", "level"].map((id) => byId(id).valueAsNumber);
    if (work && width > 0 && Number.isFinite(level)) work.setWindow(byLevel(width, level));
    this.showWindow();
  }

  showWindow() {
    const { case: work } = this.app;
    if (!work || this.shown === work.window) return;
    this.shown = work.window;
    const { width, level } = levelOf(work.window);
    const digits = width < 20 ? 2 : 0;
    byId("width").value = width.toFixed(digits);
    byId("level").value = level.toFixed(digits);
    byId("presets").value = "";
  }

  setStyle(name, value) {
    this.app.style[name] = value;
    byId(`style-${name}`).checked = value;
    this.app.stage.redraw();
  }

  showFacts({ image, state }) {
    const unit = image.unit === "mm" ? "mm" : "px";
    const rows = [
      ["Image", state.path || image.name],
      ["Modality", modalityOf(image)],
      ["Size", [...image.shape].reverse().join(" × ")],
      ["Spacing", `${image.spacing.map((v) => Number(v.toPrecision(4))).join(" × ")} ${unit}`],
      ["Values", image.colour ? "colour" : image.range.join(" ... ")],
      ["Model", state.model],
      ["It sees", image.window.rule],
      ...image.notes.map((note) => ["Note", note]),
    ];
    byId("facts").replaceChildren(
      ...rows.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
  }

  /** The place and value under the mouse. */
  showUnder(view, at) {
    let text = "";
    if (view && at && isInside(view, at.x, at.y)) {
      const { case: work } = this.app;
      const [z, y, x] = view.plane.toVolume(...pixelOf(view, at.x, at.y), view.index);
      const value = work.slices.value([z, y, x]);
      const names = work.state.objects.map((object) => object.name);
      const here = names.filter((name) => work.isVisible(name) && work.masks.get(name)?.has([z, y, x]));
      const unit = work.image.modality === "CT" ? " HU" : "";
      text = [
        here.join(", "), work.isVolume ? `x ${x}  y ${y}  z ${z}` : `x ${x}  y ${y}`,
        value === null || value === undefined ? "" : `${Number(value.toPrecision(5))}${unit}`,
      ].filter(Boolean).join("   ");
    }
    byId("under").textContent = text;
  }
}
