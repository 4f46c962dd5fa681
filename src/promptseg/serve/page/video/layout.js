/** The elements of the video mode, beside those of the page. */

import { byId, icon, iconButton, make } from "../dom.js";

const button = (id, text, title, properties = {}) =>
  make("button", { type: "button", id, text, title, ...properties });

const iconAlone = (id, shape, label) => iconButton(shape, label, null, { id });

/** A button with an icon and a word. */
function worded(id, shape, text, title) {
  const found = button(id, "", title, { class: "worded" });
  found.append(icon(shape), make("span", { text }));
  return found;
}

/** Put them in place, once. */
export function layOut() {
  const tools = make("div", { class: "vtools", "aria-label": "Tools" });
  tools.setAttribute("role", "toolbar");
  for (const [name, shape, label] of [["box", "box", "Box (B)"], ["point", "point", "Click (P)"], ["stroke", "brush", "Stroke: its box is the prompt (S)"]]) {
    tools.append(iconButton(shape, label, null, { id: `v-tool-${name}`, "aria-pressed": "false" }));
  }
  const head = make("div", { class: "vhead" },
    tools,
    button("v-inside", "+ inside", "Inside or outside the object (T)", { class: "toggle", "aria-pressed": "true" }),
    iconAlone("v-absent", "absent", "The object is not on this frame (X)"),
    make("span", { class: "spacer" }),
    make("span", { id: "v-model", title: "The model that answers, and the frames that are used" }),
    iconAlone("v-undo", "undo", "Undo (Ctrl+Z)"), iconAlone("v-redo", "redo", "Redo (Ctrl+Shift+Z)"),
    button("v-results", "Results", "Overlay video, masks, areas (Ctrl+S)", { class: "primary" }),
    iconAlone("v-help", "help", "Keys and mouse (?)"));
  document.querySelector("header").append(head);

  const canvas = make("canvas", { id: "v-canvas", tabIndex: 0, "aria-label": "Frame of the video" });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "frame view");
  const line = make("canvas", { id: "v-line", tabIndex: 0, "aria-label": "Time line: frame" });
  line.setAttribute("role", "slider");
  const speed = make("select", { id: "v-speed", title: "Speed", "aria-label": "Speed of playing" },
    ...["0.25", "0.5", "1", "2", "4"].map((value) => make("option", { value, text: `${value}×` })));
  speed.value = "1";
  const transport = make("div", { class: "vbar" },
    make("div", { class: "group" },
      iconAlone("v-first", "first", "First frame (Home)"), iconAlone("v-before", "before", "Frame before (←)"),
      iconAlone("v-play", "play", "Play or pause (Space)"),
      iconAlone("v-after", "after", "Frame after (→)"), iconAlone("v-last", "last", "Last frame (End)")),
    make("div", { class: "group" },
      make("label", { htmlFor: "v-number", text: "Frame" }),
      make("input", { id: "v-number", type: "number", min: 0, "aria-label": "Frame number" }),
      make("span", { id: "v-time" }), speed),
    make("span", { class: "spacer" }),
    make("div", { class: "group", id: "v-track-buttons" },
      make("span", { id: "v-waiting" }),
      iconAlone("v-backward", "backward", "Track backward from the last prompt"),
      worded("v-track", "both", "Track", "Track what is new, forward and backward (Enter)"),
      iconAlone("v-forward", "forward", "Track forward from the first prompt")),
    make("div", { class: "group", id: "v-progress", hidden: true },
      make("span", { id: "v-progress-text" }),
      make("progress", { id: "v-progress-bar", max: 1, value: 0, "aria-label": "How far it is" }),
      button("v-stop", "Stop", "Keep what was found so far (Esc)")));
  byId("stage").prepend(make("div", { id: "video", hidden: true },
    make("div", { class: "vstage" }, canvas), transport, make("div", { class: "vline" }, line)));

  const check = (id, text, key, checked = true) => make("label", { class: "check" },
    make("input", { type: "checkbox", id, checked }), text, key ? make("kbd", { text: key }) : null);
  const side = make("section", { class: "vside", "aria-label": "Objects" },
    make("section", {},
      make("div", { class: "title" }, make("h2", { text: "Objects" }),
        button("v-new", "+ new", "New object (E)", { class: "quiet" })),
      make("ul", { id: "v-objects" })),
    make("section", {},
      make("h2", { text: "On this frame" }), make("dl", { id: "v-here", class: "here" }),
      make("div", { class: "row" },
        button("v-doubt", "next in doubt", "Next frame in doubt (D)", { class: "quiet" }),
        button("v-prompted", "next prompt", "Next frame with a prompt (N)", { class: "quiet" }))),
    make("section", {},
      make("h2", { text: "Display" }),
      make("div", { class: "pairs" }, check("v-fill", "fill", "G"), check("v-prompts", "prompts"))),
    make("section", { class: "grow" },
      make("div", { class: "title" }, make("h2", { text: "Steps" }),
        button("v-reset", "reset all", "Start the whole video anew; undo brings it back", { class: "quiet" })),
      make("ol", { id: "v-steps" })),
    make("section", {}, make("details", {}, make("summary", { text: "About this video" }), make("dl", { id: "v-facts" }))));
  document.body.insertBefore(side, document.querySelector("footer"));

  document.body.append(openDialog(check), resultsDialog(check), make("dialog", { id: "v-help-sheet", "aria-label": "Keys and mouse" },
    make("h2", { text: "Keys and mouse: videos" }), make("div", { id: "v-keys" }),
    make("div", { class: "buttons" }, button("v-help-close", "Close", "", { class: "primary" }))));
}

function openDialog(check) {
  const number = (id, text, min, title) => [make("label", { htmlFor: id, text }), make("input", { id, type: "number", min, title })];
  return make("dialog", { id: "v-open", "aria-label": "Open a video" },
    make("form", { id: "v-open-form" },
      make("h2", { id: "v-open-title" }), make("p", { id: "v-open-facts", class: "hint" }),
      make("div", { class: "form" },
        make("label", { htmlFor: "v-open-model", text: "Model" }), make("select", { id: "v-open-model" }),
        make("label", { htmlFor: "v-open-stride", text: "Frame step" }),
        make("span", { class: "inline" }, make("input", { id: "v-open-stride", type: "number", min: 1, value: 1 }), make("span", { id: "v-open-used", class: "hint" })),
        ...number("v-open-first", "First frame", 0), ...number("v-open-last", "Last frame", 0),
        make("label", { htmlFor: "v-open-modality", text: "Modality" }), make("select", { id: "v-open-modality" })),
      make("p", { id: "v-open-earlier", class: "hint" }),
      check("v-open-afresh", "begin afresh; the earlier work is kept aside", "", false),
      make("p", { id: "v-open-note", class: "doubt" }),
      make("div", { class: "buttons" }, button("v-open-cancel", "Cancel", ""),
        make("button", { class: "primary", text: "Open", id: "v-open-go" }))));
}

function resultsDialog(check) {
  return make("dialog", { id: "v-saving", "aria-label": "Results" },
    make("form", { id: "v-save-form" },
      make("h2", { text: "Results" }),
      check("v-what-overlay", "overlay video (WebM)"),
      check("v-what-masks", "masks: a zip, a folder for every object, a PNG for every frame"),
      check("v-what-areas", "areas: a table (CSV) of every frame and object"),
      check("v-what-labels", "label video, lossless (FFV1)", "", false),
      check("v-what-seg", "DICOM SEG", "", false),
      make("div", { class: "form", id: "v-save-into" },
        make("label", { htmlFor: "v-save-folder", text: "Into the folder" }),
        make("input", { id: "v-save-folder", spellcheck: false })),
      make("p", { id: "v-save-pending", class: "hint" }),
      make("p", { id: "v-save-note", class: "doubt" }),
      make("div", { id: "v-save-busy", class: "group", hidden: true },
        make("progress", { id: "v-save-bar", max: 1, value: 0, "aria-label": "How far it is" }), make("span", { id: "v-save-text" }),
        button("v-save-stop", "Stop", "")),
      make("ul", { id: "v-save-files" }),
      make("div", { class: "buttons" }, button("v-save-close", "Close", ""),
        button("v-save-write", "Save into the folder", ""),
        make("button", { class: "primary", text: "Download", id: "v-save-download" }))));
}
