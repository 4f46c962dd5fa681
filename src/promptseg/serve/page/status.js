/** What the page says: messages that pass, what is going on, and questions. */

import { byId, make } from "./dom.js";

const SHOWN_MS = { note: 5_000, warning: 9_000, error: 15_000 };

/** Show a message: a "note", a "warning" or an "error". */
export function tell(text, kind = "note") {
  const box = byId("messages");
  for (const old of box.children) if (old.dataset.text === text) old.remove();
  const close = make("button", {
    type: "button", class: "quiet", text: "×", "aria-label": "Close this message",
    onclick: () => message.remove(),
  });
  const message = make("div", { class: `message ${kind}`, "data-text": text }, make("span", { text }), close);
  message.setAttribute("role", kind === "note" ? "status" : "alert");
  box.append(message);
  while (box.children.length > 4) box.firstChild.remove();
  setTimeout(() => message.remove(), SHOWN_MS[kind]);
}

/** Ask a question; gives whether the answer was `yes`. */
export function ask(question, yes, no = "Cancel") {
  const dialog = byId("question");
  byId("question-text").textContent = question;
  byId("question-yes").textContent = yes;
  byId("question-no").textContent = no;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** The line at the bottom: what the case is busy with. */
export function showProgress(work) {
  const { loaded, encoded, followed } = work.progress;
  const following = work.state.following;
  const busy = work.busy || following.length > 0;
  byId("spinner").hidden = !busy;
  document.documentElement.dataset.busy = String(busy);
  byId("cancel").hidden = following.length === 0;
  let text = "Ready";
  if (following.length) {
    const slices = followed ? `, ${followed.encoded} slices read by the model` : "";
    text = `Propagating ${following.join(", ")} to the other slices${slices}`;
  } else if (work.busy) {
    text = "The model is answering ...";
  } else if (loaded < 1) {
    text = `Loading the image: ${Math.round(100 * loaded)} %`;
  }
  byId("doing").textContent = text;
  const ahead = encoded && encoded.of > 1 && encoded.slices < encoded.of;
  byId("ahead").textContent = ahead ? `prepared for clicks: ${encoded.slices} of ${encoded.of} slices` : "";
}
