/** The video mode of the page: what there is, put together. */

import { Refusal } from "../api.js";
import { byId, icon } from "../dom.js";
import { ask, tell } from "../status.js";
import { VideoApi, openVideo } from "./api.js";
import { listenToKeys } from "./keys.js";
import { layOut } from "./layout.js";
import { Opening, Uploads } from "./open.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";
import { Results } from "./results.js";
import { Stage } from "./stage.js";
import { Timeline, clock } from "./timeline.js";
import { BoxTool, PointTool, StrokeTool } from "./tools.js";
import { VideoWork } from "./work.js";

const KEPT = "promptseg-video";
const WORDS = { box: "boxes", point: "clicks" };

const duration = (seconds) =>
  seconds < 90 ? `${Math.ceil(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;

export class VideoMode {
  /** In a page; `app` has `info`, `images` and `leave()`. */
  constructor(app) {
    this.app = app;
    this.work = null;
    this.inside = true;
    this.asked = null; // the prompt that has no answer yet
    this.style = { fill: true, prompts: true };
    layOut();
    this.tools = { box: new BoxTool(this), point: new PointTool(this), stroke: new StrokeTool(this) };
    this.tool = this.tools.box;
    this.stage = new Stage(byId("v-canvas"), this);
    this.timeline = new Timeline(byId("v-line"), {
      goTo: (place) => this.goTo(place), select: (name) => this.select(name), tip: (text) => this.tip(text),
    });
    this.player = new Player((playing) => this.showPlaying(playing));
    this.panel = new Panel(this);
    this.results = new Results(this, () => app.images.refresh());
    this.opening = new Opening(app.info, (path, fields) => this.open(path, fields));
    this.uploads = new Uploads(() => app.images.folder, (path) => this.arrived(path));
    this.listen();
    listenToKeys(this);
  }

  get path() {
    return this.work ? this.work.path : null;
  }

  listen() {
    const on = (id, act) => byId(id).addEventListener("click", act);
    for (const name of Object.keys(this.tools)) on(`v-tool-${name}`, () => this.choose(name));
    on("v-inside", () => this.setInside(!this.inside));
    on("v-absent", () => this.absent());
    on("v-undo", () => this.undo());
    on("v-redo", () => this.redo());
    on("v-first", () => this.goTo(0));
    on("v-last", () => this.goTo(Infinity));
    on("v-before", () => this.step(-1));
    on("v-after", () => this.step(1));
    on("v-play", () => this.player.toggle());
    on("v-track", () => this.track("both"));
    on("v-backward", () => this.track("backward"));
    on("v-forward", () => this.track("forward"));
    on("v-stop", () => this.work?.cancel());
    byId("v-speed").addEventListener("change", (event) => {
      this.player.speed = Number(event.target.value);
    });
    byId("v-number").addEventListener("change", (event) => {
      const { work } = this;
      const number = event.target.valueAsNumber;
      if (Number.isFinite(number)) this.goTo(work.placeOf(number));
      event.target.value = String(work.frame);
      event.target.blur();
    });
    for (const name of ["fill", "prompts"]) {
      byId(`v-${name}`).addEventListener("change", (event) => this.setStyle(name, event.target.checked));
    }
  }

  /** The dialog for a video of the list. */
  ask(path) {
    return this.opening.ask(path);
  }

  /** Something was sent: show it, and offer to open it if it is a video. */
  async arrived(path) {
    await this.app.images.refresh();
    if (path && /\.(mp4|m4v|mov|avi|mkv|webm|gif)$/i.test(path)) this.ask(path);
  }

  /** Open a video, where its session stood; gives whether it is open. */
  async open(path, fields = {}) {
    byId("opening").hidden = false;
    try {
      await this.app.leave();
      await this.show(await openVideo({ path, ...fields }));
      return true;
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      byId("opening").hidden = true;
      if (refusal.status === 409 && !fields.take_over) {
        const text = "This video is open in another window. Work on it here? The other window then ends, with its tracking; nothing that was found is lost.";
        if (await ask(text, "Work here")) return this.open(path, { ...fields, take_over: true });
      } else {
        tell(refusal.message, "error");
      }
      return false;
    } finally {
      byId("opening").hidden = true;
    }
  }

  /** Begin to work on a session. */
  async show(state) {
    const work = new VideoWork(state, tell);
    this.work = work;
    sessionStorage.setItem(KEPT, state.session);
    document.title = `${state.clip.name} · promptseg`;
    document.documentElement.dataset.mode = "video";
    byId("video").hidden = false;
    this.inside = true;
    this.player.show(work);
    this.panel.begin(work);
    this.timeline.show(work);
    const { clip } = work;
    for (const id of ["v-number"]) {
      byId(id).min = String(clip.first);
      byId(id).max = String(clip.last);
      byId(id).step = String(clip.stride);
    }
    byId("v-model").textContent = `${state.model}${clip.stride > 1 ? ` · one of ${clip.stride} frames` : ""}`;
    for (const [name, tool] of Object.entries(this.tools)) {
      const takes = state.prompts.includes(tool.needs);
      byId(`v-tool-${name}`).disabled = !takes;
      if (!takes) byId(`v-tool-${name}`).title = `${state.model} takes no ${WORDS[tool.needs]}`;
    }
    this.choose(state.prompts.includes("box") ? "box" : "point");
    this.setInside(true);
    this.stage.fit();
    work.addEventListener("view", () => work === this.work && this.viewed());
    work.addEventListener("change", () => work === this.work && this.changed());
    work.addEventListener("line", () => work === this.work && this.timeline.draw());
    work.addEventListener("ended", (event) => this.ended(work, event.detail));
    for (const note of clip.notes) tell(note, clip.modality_guessed ? "warning" : "note");
    const prompted = state.objects.flatMap(({ prompts }) => prompts.map(({ frame }) => frame));
    work.goTo(prompted.length ? work.placeOf(prompted[prompted.length - 1]) : 0);
    work.want();
    this.changed();
    await this.app.images.refresh();
  }

  /** Leave what is open. */
  async leave(forGood = true) {
    const { work } = this;
    if (!work) return;
    this.work = null;
    this.player.show(null);
    this.tool.cancel?.();
    this.timeline.show(null);
    sessionStorage.removeItem(KEPT);
    delete document.documentElement.dataset.mode;
    byId("video").hidden = true;
    byId("under").textContent = "";
    await work.leave(forGood);
  }

  /** The session is over on the server. */
  async ended(work, why) {
    if (work !== this.work) return;
    const { path, clip } = work;
    await this.leave(false);
    byId("welcome").hidden = false;
    if (await ask(`${why}. Nothing is lost: open the video again?`, "Open again", "Close")) {
      this.open(path, { frames: `${clip.first}:${clip.last}:${clip.stride}` });
    }
  }

  /** Go on with the session that this window had before it was loaded again; gives whether there is one. */
  async goOn() {
    const kept = sessionStorage.getItem(KEPT);
    if (!kept) return false;
    try {
      await this.show(await new VideoApi(kept).state());
      byId("welcome").hidden = true;
      return true;
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      sessionStorage.removeItem(KEPT);
      return false;
    }
  }

  viewed() {
    const { work } = this;
    this.stage.redraw();
    this.timeline.draw();
    this.panel.showHere();
    if (document.activeElement !== byId("v-number")) byId("v-number").value = String(work.frame);
    const seconds = work.secondsOf(work.frame);
    const of = `of ${work.clip.last.toLocaleString("en")}`;
    byId("v-time").textContent = seconds === null ? of : `${of} · ${clock(seconds)}`;
  }

  changed() {
    const { work } = this;
    this.viewed();
    this.panel.show();
    this.showTracking();
    const isBusy = work.busy || Boolean(work.tracking) || work.progress?.type === "writing";
    document.documentElement.dataset.busy = String(isBusy);
    byId("spinner").hidden = !isBusy;
    byId("cancel").hidden = true;
    byId("ahead").textContent = "";
    byId("doing").textContent = work.tracking ? `Tracking ${work.tracking.objects.join(", ")}` : work.busy ? "The model is answering ..." : "Ready";
    if (work.progress?.type === "writing") this.results.showProgress(work.progress);
    this.began(work);
  }

  /** The list says that a video was begun, as soon as something is done on it. */
  began(work) {
    if (this.known === work || work.state.steps.length < 2) return;
    this.known = work;
    this.app.images.refresh();
  }

  /** The buttons, or how far tracking is. */
  showTracking() {
    const { work } = this;
    const { tracking, objects } = work.state;
    byId("v-track-buttons").hidden = Boolean(tracking);
    byId("v-progress").hidden = !tracking;
    byId("video").classList.toggle("tracking", Boolean(tracking));
    if (!tracking) {
      const fresh = objects.filter((object) => object.waiting && !object.followed).length;
      const corrected = objects.filter((object) => object.waiting && object.followed).length;
      const parts = [
        fresh ? `${fresh} new` : "", corrected ? `${corrected} to correct` : "",
      ].filter(Boolean).join(", ");
      byId("v-waiting").textContent = parts;
      for (const id of ["v-track", "v-backward", "v-forward"]) byId(id).disabled = !parts || work.busy;
      byId("v-track").classList.toggle("primary", Boolean(parts));
      byId("v-track").querySelector("span").textContent = corrected && !fresh ? "Track corrections" : "Track";
      return;
    }
    const { done, of, begun, from } = work.progress || { ...tracking, begun: performance.now(), from: 0 };
    const bar = byId("v-progress-bar");
    if (of) bar.value = done / of;
    else bar.removeAttribute("value");
    const seconds = (performance.now() - begun) / 1000;
    const left = of && done > from && seconds > 2 ? ` · about ${duration((seconds * (of - done)) / (done - from))} left` : "";
    const far = of ? `${done.toLocaleString("en")} of ${of.toLocaleString("en")}` : `${done.toLocaleString("en")} frames`;
    byId("v-progress-text").textContent = `${far}${left}`;
  }

  showPlaying(playing) {
    const button = byId("v-play");
    button.replaceChildren(icon(playing ? "pause" : "play"));
    button.setAttribute("aria-pressed", String(playing));
  }

  tip(text) {
    byId("under").textContent = text;
  }

  /** What is under the mouse on the frame. */
  hover(at) {
    const { work } = this;
    if (!at || !this.stage.isInside(at)) {
      this.tip("");
      return;
    }
    const [x, y] = this.stage.pixel(at);
    const here = (work.masks.get(work.frame) || []).filter(({ crop }) => crop
      && x >= crop.x && y >= crop.y && x < crop.x + crop.width && y < crop.y + crop.height
      && crop.data[(y - crop.y) * crop.width + x - crop.x]).map(({ object }) => object);
    this.tip([here.join(", "), `x ${x}  y ${y}`, `frame ${work.frame}`].filter(Boolean).join("   "));
  }

  choose(name) {
    if (byId(`v-tool-${name}`).disabled) {
      tell(byId(`v-tool-${name}`).title, "warning");
      return;
    }
    this.tool.cancel?.();
    this.tool = this.tools[name];
    for (const other of Object.keys(this.tools)) byId(`v-tool-${other}`).setAttribute("aria-pressed", String(other === name));
    byId("hint").textContent = this.tool.hint;
    this.stage.redraw();
  }

  setInside(inside) {
    this.inside = inside;
    byId("v-inside").setAttribute("aria-pressed", String(inside));
    byId("v-inside").textContent = inside ? "+ inside" : "− outside";
  }

  setStyle(name, value) {
    this.style[name] = value;
    byId(`v-${name}`).checked = value;
    this.stage.redraw();
  }

  goTo(place) {
    const { work } = this;
    if (!work) return;
    this.player.stop();
    work.goTo(Math.max(0, Math.min(work.places - 1, place)));
  }

  step(by) {
    this.goTo(this.work.place + by);
  }

  /** Whether something may be drawn now; the user is told why not. */
  mayDraw() {
    if (this.work.tracking) {
      tell("Objects are being tracked: stop it (Esc) before you draw.", "warning");
      return false;
    }
    this.player.stop();
    return true;
  }

  /** Send a prompt, for the object that was current when it was begun; it is seen until its answer is there. */
  async prompt(prompt) {
    const { work } = this;
    this.asked = prompt;
    this.stage.redraw();
    const { stroke, object = work.currentSoon(), ...others } = prompt;
    const body = stroke ? { frame: prompt.frame, stroke } : others;
    const done = await work.act(async () => {
      const name = await object;
      return work.api.prompt({ ...body, ...(name === null ? {} : { object: name }) });
    });
    if (this.asked === prompt) this.asked = null;
    this.stage.redraw();
    return done;
  }

  absent() {
    const { work } = this;
    const object = work.current;
    if (!object) tell("There is no object yet.");
    else if (this.mayDraw()) work.act(() => work.api.prompt({ frame: work.frame, object: object.name, absent: true }));
  }

  track(direction) {
    const { work } = this;
    if (work.tracking || work.busy) return;
    this.player.stop();
    work.act(() => work.api.track(direction));
  }

  escape() {
    this.tool.cancel?.();
    this.stage.redraw();
    if (this.work.tracking) this.work.cancel();
  }

  newObject() {
    const { work } = this;
    if (this.mayDraw()) work.act(() => work.api.newObject({}));
  }

  select(name) {
    const { work } = this;
    if (name === work.state.current) return Promise.resolve(true);
    return work.act(() => work.api.changeObject({ object: name, select: true }));
  }

  nextObject() {
    const names = this.work.state.objects.map(({ name }) => name);
    if (names.length) this.select(names[(names.indexOf(this.work.state.current) + 1) % names.length]);
  }

  rename(name, to) {
    const { work } = this;
    if (!to || to === name) {
      this.panel.show();
      return;
    }
    work.act(() => work.api.changeObject({ object: name, name: to }));
  }

  remove(name) {
    const { work } = this;
    if (name !== null && this.mayDraw()) work.act(() => work.api.changeObject({ object: name, remove: true }));
  }

  resetObject() {
    const { work } = this;
    const object = work.current;
    if (object && this.mayDraw()) work.act(() => work.api.reset({ object: object.name }));
  }

  async resetAll() {
    const { work } = this;
    if (!work.state.objects.length || !this.mayDraw()) return;
    if (await ask("Start the whole video anew? All objects go; undo (Ctrl+Z) brings them back.", "Reset")) work.act(() => work.api.reset({}));
  }

  toggle(name) {
    const { work } = this;
    if (name === null) return;
    if (work.hidden.has(name)) work.hidden.delete(name);
    else work.hidden.add(name);
    this.changed();
  }

  undo() {
    const { work } = this;
    if (this.mayDraw() && work.state.position > 0) work.act(() => work.api.undo());
  }

  redo() {
    const { work } = this;
    if (this.mayDraw() && work.state.position < work.state.steps.length - 1) work.act(() => work.api.redo());
  }

  goToStep(to) {
    const { work } = this;
    if (this.mayDraw()) work.act(() => work.api.undo({ to }));
  }

  /** Look at the next frame of the current object that is in doubt; after the last one, the first. */
  nextDoubt() {
    const { work } = this;
    const known = work.current && work.line.get(work.current.name);
    const low = 3 + 252 * work.state.low_quality;
    const isDoubtful = (level) => level >= 3 && level < low;
    const places = known ? [...known.levels.keys()].filter((k) => isDoubtful(known.levels[k])) : [];
    this.goAmong(places, work.current ? `No frame of “${work.current.name}” is in doubt.` : "There is no object yet.", true);
  }

  nextPrompt() {
    const { work } = this;
    const frames = work.state.objects.flatMap(({ prompts }) => prompts.map(({ frame }) => frame));
    this.goAmong([...new Set(frames.map((frame) => work.placeOf(frame)))].sort((a, b) => a - b), "There is no prompt yet.");
  }

  /** The next one of ascending places; of a stretch without gaps, the stretch after it. */
  goAmong(places, none, byStretch = false) {
    const { work } = this;
    if (!places.length) {
      tell(none);
      return;
    }
    const isStart = (place, k) => !byStretch || k === 0 || places[k - 1] !== place - 1;
    const starts = places.filter(isStart);
    const next = starts.find((place) => place > work.place);
    this.goTo(next === undefined ? starts[0] : next);
  }
}
