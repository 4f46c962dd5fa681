/** The tools: which one is at work, and what they share: inside or outside, and the brush's size. */

import { byId, iconButton } from "./dom.js";
import { Box3dTool } from "./tools/box3d.js";
import { BoxTool } from "./tools/box.js";
import { BrushTool, LassoTool } from "./tools/brush.js";
import { MarkerTool, RulerTool } from "./tools/lines.js";
import { NavigateTool, WindowTool } from "./tools/navigate.js";
import { PointTool } from "./tools/point.js";

const TOOLS = [
  ["navigate", "Crosshair (N)", NavigateTool],
  ["box", "Box (B)", BoxTool],
  ["point", "Click (P)", PointTool],
  ["brush", "Brush and eraser (S)", BrushTool],
  ["lasso", "Lasso (L)", LassoTool],
  ["box3d", "3D box (C)", Box3dTool],
  ["marker", "Marker lines (K)", MarkerTool],
  ["ruler", "Ruler (U)", RulerTool],
  ["window", "Window and level (W)", WindowTool],
];
const WORDS = { box: "boxes", point: "clicks", mask: "masks" };

export class Toolbar {
  constructor(app) {
    this.app = app;
    this.tools = {};
    this.buttons = {};
    this.brushSize = 10;
    for (const [name, label, Tool] of TOOLS) {
      this.tools[name] = new Tool(app);
      this.buttons[name] = iconButton(name, label, () => this.choose(name), {
        "aria-pressed": "false", "data-tool": name,
      });
      byId("tools").append(this.buttons[name]);
    }
    byId("inside").addEventListener("click", () => this.setInside(!app.inside));
    byId("brush-size").addEventListener("input", (event) => {
      this.setBrush(this.least * (this.most / this.least) ** (event.target.value / 100));
    });
    for (const name of ["spread", "refine", "preview"]) {
      byId(name).addEventListener("change", (event) => {
        app[name] = event.target.checked;
      });
    }
    this.least = 1;
    this.most = 100;
    this.choose("navigate");
  }

  get ruler() {
    return this.tools.ruler;
  }

  /** Set out for a case: what its model takes, and a brush that fits its pixels. */
  begin(work) {
    const [dx, dy] = work.plane("z").pixel;
    this.least = Math.min(dx, dy);
    this.most = Math.max(this.least * 2, Math.min(work.plane("z").width, work.plane("z").height) / 4);
    this.setBrush(this.least * 10);
    for (const [name, label] of TOOLS) {
      const kind = this.tools[name].needs;
      const takes = !kind || this.app.prompts.takes(kind);
      const flat = name === "box3d" && !work.isVolume;
      this.buttons[name].disabled = !takes || flat;
      const why = takes ? "" : `: ${work.state.model} takes no ${WORDS[kind]}`;
      this.buttons[name].title = flat ? `${label}: volumes only` : label + why;
    }
    const takesMasks = this.app.prompts.takes("mask");
    byId("refine").disabled = !takesMasks;
    if (!takesMasks) byId("refine").checked = this.app.refine = false;
    byId("spread").disabled = !work.isVolume;
    if (this.tool === this.tools.navigate || this.buttons[this.name].disabled) {
      this.choose(this.buttons.box.disabled ? "point" : "box");
    }
  }

  choose(name) {
    if (this.buttons[name].disabled) {
      this.app.tell(this.buttons[name].title, "warning");
      return;
    }
    if (this.tool) this.tool.cancel?.();
    this.name = name;
    this.tool = this.tools[name];
    for (const [other, button] of Object.entries(this.buttons)) {
      button.setAttribute("aria-pressed", String(other === name));
    }
    byId("hint").textContent = this.tool.hint;
    document.querySelector(".only-brush").hidden = name !== "brush";
    if (this.app.stage) for (const view of this.app.views) view.redraw();
  }

  setInside(inside) {
    this.app.inside = inside;
    byId("inside").setAttribute("aria-pressed", String(inside));
    byId("inside").textContent = inside ? "+ inside" : "− outside";
    for (const view of this.app.views) view.redraw();
  }

  /** Diameter in the image's unit. */
  setBrush(size) {
    this.brushSize = Math.max(this.least, Math.min(this.most, size));
    const share = Math.log(this.brushSize / this.least) / Math.log(this.most / this.least);
    byId("brush-size").value = String(Math.round(100 * share));
    const { case: work } = this.app;
    const unit = work && work.image.unit === "mm" ? "mm" : "px";
    byId("brush-size-text").textContent = `${this.brushSize.toFixed(1)} ${unit}`;
    if (work) for (const view of this.app.views) view.redraw();
  }
}
