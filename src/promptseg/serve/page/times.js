/** Annotation times for a study (docs/study.md): off until somebody starts a phase, and seen while it runs. */

import { Refusal } from "./api.js";
import { byId } from "./dom.js";
import { ask, tell } from "./status.js";

const KEPT = "promptseg-expert";
const PHASES = { marker: "prompts", refinement: "refinement", manual: "by hand" };

/** Seconds as 1:05, or 1:02:03. */
export const clockText = (seconds) => {
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
};

export class Times {
  constructor(app) {
    this.app = app;
    this.times = null;
    byId("times-open").addEventListener("click", () => this.ask());
    byId("times-cancel").addEventListener("click", () => byId("timing").close());
    byId("times-form").addEventListener("submit", (event) => {
      event.preventDefault();
      byId("timing").close();
      const [expert, name, phase] = ["expert", "case", "phase"].map((id) => byId(`times-${id}`).value.trim());
      localStorage.setItem(KEPT, expert);
      this.start(expert, name, phase);
    });
    byId("times-now").addEventListener("change", (event) => {
      this.start(this.times.expert, this.times.case, event.target.value);
    });
    byId("times-pause").addEventListener("click", () => this.send({ do: this.times.paused ? "resume" : "pause" }));
    byId("times-stop").addEventListener("click", () => this.send({ do: "stop" }));
    byId("times-discard").addEventListener("click", () => this.discard());
    setInterval(() => this.tick(), 500);
  }

  /** The dialog that turns it on. */
  ask() {
    const { case: work } = this.app;
    if (!work) return;
    byId("times-expert").value = localStorage.getItem(KEPT) || "";
    byId("times-case").value = work.state.path || work.image.name;
    byId("timing").showModal();
    byId("times-expert").focus();
  }

  async start(expert, name, phase, endOpen = false) {
    const started = await this.send({ do: "start", expert, case: name, phase, end_open: endOpen }, async (refusal) => {
      if (refusal.kind !== "StudyError" || endOpen) return false;
      const text = `The log has a phase open for “${expert}”: ${refusal.message}. End it there, and start this one?`;
      if (await ask(text, "End it and start")) await this.start(expert, name, phase, true);
      return true;
    });
    if (!started || phase !== "manual") return;
    this.app.spread = byId("spread").checked = false;
    if (!["brush", "lasso"].includes(this.app.toolbar.name)) this.app.choose("brush");
    tell("Work by hand is timed: brush and lasso alone, and nothing is propagated to other slices.");
  }

  async discard() {
    if (await ask("Discard this phase? Its time does not count.", "Discard")) this.send({ do: "discard" });
  }

  /** Gives whether it was done; `refused` may deal with a refusal. */
  async send(body, refused = async () => false) {
    const { case: work } = this.app;
    try {
      const { times } = await work.api.times(body);
      work.state.times = times;
      this.show();
      return true;
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (!(await refused(refusal))) tell(refusal.message, "error");
      this.show();
      return false;
    }
  }

  /** What the session's state says. */
  show() {
    const { case: work } = this.app;
    const times = work ? work.state.times : null;
    if (times !== this.times) this.since = performance.now();
    this.times = times;
    byId("times-section").hidden = !times;
    byId("times-open").hidden = Boolean(times);
    if (!times) return;
    byId("times-now").value = times.phase;
    byId("times-who").textContent = `${times.case} · expert ${times.expert}`;
    byId("times-pause").textContent = times.paused ? "Resume" : "Pause";
    byId("times-section").classList.toggle("paused", times.paused);
    this.tick();
  }

  /** The seconds, between what the server tells; they stand while the model works. */
  tick() {
    const { times, app: { case: work } } = this;
    if (!times || !work) return;
    const now = performance.now();
    const stands = times.paused || work.busy || work.state.following.length > 0;
    if (!stands) times.seconds += (now - this.since) / 1000;
    this.since = now;
    byId("times-clock").textContent = clockText(times.seconds);
    byId("times-what").textContent = times.paused ? "paused" : stands ? "the model's time" : PHASES[times.phase];
  }
}
