/** The keys: one table, from which the help sheet is written, too. */

import { byId, make } from "./dom.js";

/** Rows [keys, what they do, action]; `keys` as people write them. */
export function tableOf(app) {
  const tool = (name) => () => app.choose(name);
  const scroll = (by) => () => app.scroll(by);
  const move = (dx, dy) => (event) => app.move(dx * (event.shiftKey ? 10 : 1), dy * (event.shiftKey ? 10 : 1));
  return {
    "Tools": [
      ["N", "crosshair", tool("navigate")],
      ["B", "box", tool("box")],
      ["P", "click", tool("point")],
      ["L", "lasso", tool("lasso")],
      ["S", "brush (scribble); with T, eraser", tool("brush")],
      ["C", "3D box", tool("box3d")],
      ["K", "marker lines: long and short axis", tool("marker")],
      ["U", "ruler", tool("ruler")],
      ["W", "window and level", tool("window")],
      ["/", "words: write what to look for", () => app.words.focus()],
      ["T", "inside or outside, paint or erase", () => app.setInside(!app.inside)],
      ["[", "smaller brush", () => app.setBrush(app.brushSize / 1.25)],
      ["]", "larger brush", () => app.setBrush(app.brushSize * 1.25)],
      ["Enter", "set a corner or a click at the crosshair; finish a 3D box or marker", () => app.enter()],
      ["Esc", "give up what is being drawn; stop propagating", () => app.escape()],
    ],
    "Objects": [
      ["E", "new object", () => app.objects.add()],
      ["M", "next object", () => app.objects.next()],
      ["R", "reset: start the object anew", () => app.objects.reset()],
      ["V", "show or hide the object", () => app.objects.toggleCurrent()],
      ["Shift+V", "show or hide all", () => app.objects.toggleAll()],
      ["Delete", "remove the object, or the last distance", () => app.remove()],
      ["I", "fill between slices drawn by hand", () => app.interpolate()],
      ["D", "next slice in doubt", () => app.objects.nextDoubt()],
      ["Ctrl+Z", "undo", () => app.history.undo()],
      ["Ctrl+Shift+Z", "redo", () => app.history.redo()],
      ["Ctrl+Y", "redo", () => app.history.redo()],
    ],
    "Looking": [
      ["PageUp", "slice before", scroll(-1)],
      ["PageDown", "slice after", scroll(1)],
      ["Home", "first slice", scroll(-Infinity)],
      ["End", "last slice", scroll(Infinity)],
      ["ArrowLeft", "crosshair to the left (Shift: by 10)", move(-1, 0)],
      ["ArrowRight", "crosshair to the right", move(1, 0)],
      ["ArrowUp", "crosshair up", move(0, -1)],
      ["ArrowDown", "crosshair down", move(0, 1)],
      ["+", "zoom in", () => app.zoom(1.25)],
      ["-", "zoom out", () => app.zoom(0.8)],
      ["F", "whole slice", () => app.fit()],
      ["Space", "one plane large, or all", () => app.enlarge()],
      ["A", "next plane", () => app.nextView()],
      ["X", "crosshair on or off", () => app.toggleStyle("crosshair")],
      ["G", "fill on or off", () => app.toggleStyle("fill")],
      ["0", "window of the model", () => app.preset(0)],
      ["1 ... 9", "window presets in order", null],
    ],
    "Work": [
      ["Ctrl+S", "save", () => app.save.ask()],
      ["Ctrl+Enter", "done: mark it and open the next image", () => app.done()],
      ["?", "this sheet", () => showHelp()],
    ],
  };
}

const MOUSE = [
  ["Wheel", "slices; in a picture, zoom"],
  ["Ctrl+wheel", "zoom"],
  ["Shift+drag, middle drag", "pan"],
  ["Right drag", "window (sideways) and level (up and down)"],
  ["Right click", "with clicks: outside the object"],
  ["Alt, Ctrl", "held with a click or the brush: the opposite"],
  ["Double click", "on a plane's name: one plane large, or all"],
];

/** How an event is written in the table. */
export function nameOf(event) {
  const names = { " ": "Space", Escape: "Esc", Backspace: "Delete" };
  let key = names[event.key] || event.key;
  if (/^[a-z]$/i.test(key)) key = key.toUpperCase();
  const isLetter = /^[A-Z]$/.test(key);
  const ctrl = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return ctrl + (event.shiftKey && isLetter ? "Shift+" : "") + key;
}

/** Listen to the keys, and write the help sheet. */
export function listenToKeys(app) {
  const table = tableOf(app);
  const actions = new Map(Object.values(table).flat().filter(([, , act]) => act).map(([keys, , act]) => [keys, act]));
  for (let k = 1; k <= 9; k++) actions.set(String(k), () => app.preset(k));
  actions.set("=", actions.get("+"));
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (app.video.work || document.querySelector("dialog[open]") || event.altKey) return;
    if (target.matches("textarea, select, input:not([type=checkbox], [type=range], [type=color])")) return;
    if (target.matches("input") && /^(Arrow|Page|Home|End|Enter| )/.test(event.key)) return;
    if (target.matches("button") && ["Enter", " "].includes(event.key) && !event.ctrlKey) return;
    const name = nameOf(event);
    const act = actions.get(name);
    if (!act || (!app.case && name !== "?")) return;
    event.preventDefault();
    act(event);
  });
  document.addEventListener("click", (event) => { // by the mouse: Space is no second click on it
    const control = event.target.closest("button, input:is([type=checkbox], [type=range])");
    if (event.detail > 0 && control && !control.closest("dialog")) control.blur();
  });
  const part = (title, rows) => make("section", {}, make("h3", { text: title }),
    make("dl", {}, ...rows.flatMap(([keys, does]) => [
      make("dt", {}, ...keys.split(", ").map((key) => make("kbd", { text: key.replace("Arrow", "") }))),
      make("dd", { text: does }),
    ])));
  byId("keys").replaceChildren(
    ...Object.entries(table).map(([title, rows]) => part(title, rows)), part("Mouse", MOUSE));
  byId("help").addEventListener("click", showHelp);
  byId("help-close").addEventListener("click", () => byId("help-sheet").close());
}

function showHelp() {
  byId("help-sheet").showModal();
}
