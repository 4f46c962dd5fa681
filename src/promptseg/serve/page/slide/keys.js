/** The keys of the slide page: one table, from which the help sheet is written, too. */

import { byId, make } from "../dom.js";

const MOUSE = [
  ["wheel", "zoom in and out"],
  ["drag", "with the tool; with Shift, Space or the middle button: move"],
  ["right-click", "with Click: what does not belong to the object"],
  ["overview", "click or drag: go there"],
];

const tableOf = (app) => {
  const pan = (dx, dy) => (event) => app.pan(dx, dy, event.shiftKey);
  return {
    Tools: [
      ["N", "pan", () => app.tools.choose("navigate")],
      ["B", "box", () => app.tools.choose("box")],
      ["P", "click", () => app.tools.choose("point")],
      ["T", "inside or outside", () => app.tools.setInside(!app.tools.inside)],
      ["Enter", "corner or click in the middle of the view", () => app.tools.enter()],
      ["Esc", "let the box be", () => app.tools.cancel()],
    ],
    Objects: [
      ["E", "new object", () => app.objects.add()],
      ["M", "next object", () => app.objects.next()],
      ["V", "show or hide the object", () => app.objects.toggleCurrent()],
      ["Delete", "remove the object", () => app.objects.remove(app.case.state.current)],
      ["Ctrl+Z", "undo", () => app.history.undo()],
      ["Ctrl+Shift+Z", "redo", () => app.history.redo()],
      ["Ctrl+S", "save", () => app.save.ask()],
    ],
    View: [
      ["ArrowLeft", "move; with Shift: half a view", pan(1, 0)],
      ["ArrowRight", "", pan(-1, 0)],
      ["ArrowUp", "", pan(0, 1)],
      ["ArrowDown", "", pan(0, -1)],
      ["+", "nearer", () => app.viewer.zoom(2)],
      ["-", "farther", () => app.viewer.zoom(0.5)],
      ["0", "the whole slide", () => app.viewer.fit()],
      ["1", "full resolution", () => app.viewer.setScale(1 / app.viewer.ratio)],
      ["G", "fill", () => app.toggleStyle("fill")],
      ["?", "this sheet", () => byId("help-sheet").showModal()],
    ],
  };
};

function nameOf(event) {
  const names = { Escape: "Esc", Backspace: "Delete", "=": "+" };
  let key = names[event.key] || event.key;
  if (/^[a-z]$/i.test(key)) key = key.toUpperCase();
  const ctrl = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return ctrl + (event.shiftKey && /^[A-Z]$/.test(key) ? "Shift+" : "") + key;
}

/** Listen to the keys, and write the help sheet. */
export function listenToKeys(app) {
  const table = tableOf(app);
  const actions = new Map(Object.values(table).flat().map(([key, , act]) => [key, act]));
  const elsewhere = (event) => document.querySelector("dialog[open]") || event.altKey
    || event.target.matches("textarea, select, input:not([type=checkbox], [type=color])");
  document.addEventListener("keydown", (event) => {
    if (elsewhere(event)) return;
    if (event.key === " " && event.target.matches("body, #slide")) {
      event.preventDefault();
      app.tools.space = true;
      return;
    }
    if (event.target.matches("button, input") && ["Enter", " "].includes(event.key)) return;
    const act = actions.get(nameOf(event));
    if (!act || !app.case) return;
    event.preventDefault();
    act(event);
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") app.tools.space = false;
  });
  const part = (title, rows) => make("section", {}, make("h3", { text: title }),
    make("dl", {}, ...rows.flatMap(([key, does]) => (does ? [
      make("dt", {}, make("kbd", { text: key.replace("ArrowLeft", "← → ↑ ↓") })), make("dd", { text: does })] : []))));
  byId("keys").replaceChildren(
    ...Object.entries(table).map(([title, rows]) => part(title, rows)), part("Mouse", MOUSE));
  byId("help").addEventListener("click", () => byId("help-sheet").showModal());
  byId("help-close").addEventListener("click", () => byId("help-sheet").close());
}
