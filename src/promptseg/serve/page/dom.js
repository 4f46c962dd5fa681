/** Elements, in few words. */

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/** A new element: its name, properties (`class`, `text`, `aria-...`, `data-...`, `on...`), children. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key === "text") element.textContent = value;
    else if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Let the browser keep a `Blob` as a file of a name. */
export function offer(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A button with an icon and words for those who do not see it. */
export function iconButton(shape, label, onclick, properties = {}) {
  const classes = `icon ${properties.class || ""}`.trim();
  const fields = { type: "button", title: label, "aria-label": label, onclick, ...properties };
  return make("button", { ...fields, class: classes }, icon(shape));
}

const SVG = "http://www.w3.org/2000/svg";

/** Shapes on a grid of 24 by 24, drawn as lines. */
const SHAPES = {
  navigate: "M12 3v6M12 15v6M3 12h6M15 12h6",
  window: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  point: "M5 4l14 6-6 2-2 6zM18 16v6M15 19h6",
  box: "M5 5h14v14H5z",
  box3d: "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
  brush: "M4 20c3 0 4-1 4-3 0-1.500 1-2.500 2.500-2.500S13 15.500 13 17c0 3-3 4-9 3zM12 14L20 4",
  lasso: "M12 4c5 0 8 2.500 8 5.500S17 15 12 15 4 12.500 4 9.500 7 4 12 4zM7 14c-1 2 0 4 2 5",
  marker: "M5 19L19 5M9 9l6 6",
  ruler: "M3 17L17 3l4 4L7 21zM8 12l2 2M11 9l2 2M14 6l2 2",
  undo: "M9 7L4 12l5 5M4 12h10a6 6 0 0 1 6 6",
  redo: "M15 7l5 5-5 5M20 12H10a6 6 0 0 0-6 6",
  save: "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
  next: "M5 5l9 7-9 7zM18 5v14",
  eye: "M2 12c3-5 6.500-7 10-7s7 2 10 7c-3 5-6.500 7-10 7s-7-2-10-7zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6",
  closed: "M3 3l18 18M6 7c-1.500 1.200-3 3-4 5 3 5 6.500 7 10 7 1.500 0 3-.4 4.500-1.200M10 5.200c4.500-.8 8.800 1.300 12 6.800-.7 1.200-1.500 2.200-2.300 3",
  lock: "M6 11h12v9H6zM8 11V8a4 4 0 0 1 8 0v3",
  open: "M6 11h12v9H6zM8 11V8a4 4 0 0 1 7.500-2",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  add: "M12 5v14M5 12h14",
  help: "M9 9a3 3 0 1 1 4 2.800c-1 .5-1 1.200-1 2.200M12 18v.5",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  between: "M4 5h16M4 19h16M7 10h10M7 14h10",
  doubt: "M12 4l9 16H3zM12 10v5M12 17.500v.5",
  play: "M7 5l12 7-12 7z",
  pause: "M8 5v14M16 5v14",
  before: "M15 5l-8 7 8 7z",
  after: "M9 5l8 7-8 7z",
  first: "M6 5v14M18 5l-9 7 9 7z",
  last: "M18 5v14M6 5l9 7-9 7z",
  backward: "M20 12H5M10 6l-6 6 6 6M20 7v10",
  forward: "M4 12h15M14 6l6 6-6 6M4 7v10",
  both: "M3 12h18M8 7l-5 5 5 5M16 7l5 5-5 5",
  absent: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM6.300 6.300l11.400 11.400",
};

/** An icon by name; it says nothing to screen readers. */
export function icon(shape) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[shape]);
  svg.append(path);
  return svg;
}
