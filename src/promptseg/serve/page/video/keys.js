/** The keys of the video mode: one table, from which its help sheet is written, too. */

import { byId, make } from "../dom.js";
import { nameOf } from "../keyboard.js";

function tableOf(mode) {
  const step = (by) => (event) => mode.step(by * (event.shiftKey ? 10 : 1));
  return {
    "Tools": [
      ["B", "box", () => mode.choose("box")],
      ["P", "click", () => mode.choose("point")],
      ["S", "stroke: its bounding box is the prompt", () => mode.choose("stroke")],
      ["T", "inside or outside", () => mode.setInside(!mode.inside)],
      ["X", "the object is not on this frame", () => mode.absent()],
      ["Enter", "track what is new, both ways", () => mode.track("both")],
      ["[", "track backward from the last prompt", () => mode.track("backward")],
      ["]", "track forward from the first prompt", () => mode.track("forward")],
      ["Esc", "stop tracking; give up what is being drawn", () => mode.escape()],
    ],
    "Frames": [
      ["Space", "play or pause", () => mode.player.toggle()],
      ["ArrowLeft", "frame before (Shift: 10 before)", step(-1)],
      ["ArrowRight", "frame after (Shift: 10 after)", step(1)],
      ["PageUp", "a tenth back", () => mode.step(-Math.ceil(mode.work.places / 10))],
      ["PageDown", "a tenth on", () => mode.step(Math.ceil(mode.work.places / 10))],
      ["Home", "first frame", () => mode.goTo(0)],
      ["End", "last frame", () => mode.goTo(Infinity)],
      ["D", "next frame in doubt", () => mode.nextDoubt()],
      ["N", "next frame with a prompt", () => mode.nextPrompt()],
    ],
    "Objects": [
      ["E", "new object", () => mode.newObject()],
      ["M", "next object", () => mode.nextObject()],
      ["R", "reset: start the object anew", () => mode.resetObject()],
      ["V", "show or hide the object", () => mode.toggle(mode.work.state.current)],
      ["Delete", "remove the object", () => mode.remove(mode.work.state.current)],
      ["Ctrl+Z", "undo", () => mode.undo()],
      ["Ctrl+Shift+Z", "redo", () => mode.redo()],
      ["Ctrl+Y", "redo", () => mode.redo()],
    ],
    "Looking": [
      ["+", "zoom in", () => mode.stage.zoom(1.25)],
      ["-", "zoom out", () => mode.stage.zoom(0.8)],
      ["F", "whole frame", () => mode.stage.fit()],
      ["G", "fill on or off", () => mode.setStyle("fill", !mode.style.fill)],
      ["Ctrl+S", "results", () => mode.results.ask()],
      ["?", "this sheet", () => byId("v-help-sheet").showModal()],
    ],
  };
}

const MOUSE = [
  ["Wheel", "frames"],
  ["Ctrl+wheel", "zoom"],
  ["Shift+drag, middle drag", "pan"],
  ["Right click", "with clicks: outside the object"],
  ["Time line", "click or drag to go to a frame; a name selects"],
];

/** Listen to the keys while a video is open, and write the help sheet. */
export function listenToKeys(mode) {
  const table = tableOf(mode);
  const actions = new Map(Object.values(table).flat().map(([keys, , act]) => [keys, act]));
  actions.set("=", actions.get("+"));
  document.addEventListener("keydown", (event) => {
    if (!mode.work || document.querySelector("dialog[open]") || event.altKey) return;
    const { target } = event;
    if (target.matches("textarea, select, input:not([type=checkbox])")) return;
    if (target.matches("button, summary, a") && ["Enter", " "].includes(event.key)) return;
    const act = actions.get(nameOf(event));
    if (!act) return;
    event.preventDefault();
    act(event);
  });
  const part = (title, rows) => make("section", {}, make("h3", { text: title }),
    make("dl", {}, ...rows.flatMap(([keys, does]) => [
      make("dt", {}, ...keys.split(", ").map((key) => make("kbd", { text: key.replace("Arrow", "") }))),
      make("dd", { text: does }),
    ])));
  byId("v-keys").replaceChildren(...Object.entries(table).map(([title, rows]) => part(title, rows)), part("Mouse", MOUSE));
  byId("v-help").addEventListener("click", () => byId("v-help-sheet").showModal());
  byId("v-help-close").addEventListener("click", () => byId("v-help-sheet").close());
}
