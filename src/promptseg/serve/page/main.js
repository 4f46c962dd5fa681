/** The page: what there is, put together. */

import { SessionApi, Refusal, serverInfo } from "./api.js";
import { Case } from "./case.js";
import { byId, icon } from "./dom.js";
import { History } from "./history.js";
import { Images } from "./images.js";
import { interpolate } from "./interpolate.js";
import { listenToKeys } from "./keyboard.js";
import { Objects } from "./objects.js";
import { Panels } from "./panels.js";
import { Prompts } from "./prompts.js";
import { Save } from "./save.js";
import { ask, showProgress, tell } from "./status.js";
import { Times } from "./times.js";
import { Toolbar } from "./toolbar.js";
import { VideoMode } from "./video/mode.js";
import { Views } from "./views.js";
import { Words } from "./words.js";

const KEPT = "promptseg-session";

class App {
  constructor(info) {
    this.info = info;
    this.case = null;
    this.finishing = undefined; // path of the image that is about to be marked as done
    this.tell = tell;
    this.inside = true;
    this.spread = true;
    this.refine = false;
    this.preview = false;
    this.style = { smooth: true, fill: true, crosshair: true, prompts: true };
    this.stage = new Views(this);
    this.prompts = new Prompts(this);
    this.objects = new Objects(this);
    this.history = new History(this);
    this.panels = new Panels(this);
    this.toolbar = new Toolbar(this);
    this.words = new Words(this);
    this.images = new Images(this, (state) => this.show(state));
    this.times = new Times(this);
    this.save = new Save(this, () => this.images.refresh());
    byId("cancel").addEventListener("click", () => this.case && this.case.cancel());
    byId("demo-large").addEventListener("click", () => this.images.demo());
    this.video = new VideoMode(this);
    listenToKeys(this);
  }

  get views() {
    return this.stage.views;
  }

  /** Where what is open lies: an image, or a video. */
  get path() {
    return this.case ? this.case.state.path : this.video.path;
  }

  get tool() {
    return this.toolbar.tool;
  }

  get brushSize() {
    return this.toolbar.brushSize;
  }

  /** What is loaded of the case's model. */
  get model() {
    return this.case && this.info.models.find((model) => model.name === this.case.state.model);
  }

  /** Begin to work on a session. */
  async show(state) {
    const work = new Case(state, tell);
    this.case = work;
    sessionStorage.setItem(KEPT, state.session);
    document.title = `${state.image.name} · promptseg`;
    this.showOpen(true);
    this.stage.show(work);
    this.objects.begin();
    this.panels.begin(work);
    this.toolbar.begin(work);
    this.words.begin(work);
    work.addEventListener("view", () => work === this.case && this.viewed());
    work.addEventListener("change", () => work === this.case && this.changed());
    work.addEventListener("ended", (event) => this.ended(work, event.detail));
    for (const note of state.image.notes) tell(note, state.image.modality_guessed ? "warning" : "note");
    if (state.warning) tell(state.warning, "warning");
    work.scrollTo("z", work.index("z"));
    await work.sync();
    await this.images.refresh();
  }

  /** Panels and views, or the welcome. */
  showOpen(open) {
    byId("welcome").hidden = open;
    byId("views").hidden = !open;
    document.documentElement.toggleAttribute("data-open", open);
  }

  /** Redraw what depends on where the user looks. */
  viewed() {
    this.stage.redraw();
    this.panels.showWindow();
  }

  /** Redraw what depends on the session. */
  changed() {
    const { case: work } = this;
    this.stage.redraw();
    showProgress(work);
    if (this.shownRevision !== work.revision || this.shownState !== work.state || this.shownSets !== this.sets()) {
      this.shownRevision = work.revision;
      this.shownState = work.state;
      this.shownSets = this.sets();
      this.objects.show();
      this.history.show();
      this.times.show();
    }
    this.objects.measure();
    this.images.began(work);
  }

  sets() {
    const { hidden, locked, allHidden } = this.case;
    return JSON.stringify([[...hidden], [...locked], allHidden]);
  }

  /** The session is over on the server. */
  async ended(work, why) {
    if (work !== this.case) return;
    const { path } = work.state;
    await this.leave(false);
    if (path && (await ask(`${why}. Nothing is lost: open the image again?`, "Open again", "Close"))) {
      this.images.open(path);
    }
  }

  /** Leave what is open. */
  async leave(forGood = true) {
    const { case: work } = this;
    this.case = null;
    this.toolbar.tool.cancel?.();
    this.stage.show(null);
    this.times.show();
    this.showOpen(false);
    sessionStorage.removeItem(KEPT);
    if (work) await work.leave(forGood);
    await this.video.leave(forGood);
  }

  /** Go on with the session that this window had before it was loaded again. */
  async goOn() {
    const kept = sessionStorage.getItem(KEPT);
    if (!kept) return;
    try {
      await this.show(await new SessionApi(kept).state());
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      sessionStorage.removeItem(KEPT);
    }
  }

  choose(name) {
    this.toolbar.choose(name);
  }

  setInside(inside) {
    this.toolbar.setInside(inside);
  }

  setBrush(size) {
    this.toolbar.setBrush(size);
  }

  setActive(view) {
    this.stage.setActive(view);
  }

  hover(view, at) {
    this.panels.showUnder(view, at);
  }

  stopPreview() {
    this.preview = false;
    byId("preview").checked = false;
    tell("The preview is off: answers take more than a tenth of a second here.");
  }

  /** Put the crosshair on a point of a view's slice. */
  look(view, x, y) {
    this.case.lookAt(view.plane.toVolume(x, y, view.index));
  }

  scroll(by) {
    const view = this.stage.active;
    const { count } = view.plane;
    const to = Math.max(0, Math.min(count - 1, view.index + by));
    this.case.scrollTo(view.axis, to);
  }

  /** Move the crosshair on the screen of the active view, in pixels of its slice. */
  move(right, down) {
    const view = this.stage.active;
    const { matrix, transposed } = view.plane;
    const [x, y] = view.plane.ofVolume(this.case.crosshair);
    const [a, b, c, d] = matrix.map(Math.sign);
    const [dx, dy] = transposed ? [b * down, c * right] : [a * right, d * down];
    this.look(view, x + dx, y + dy);
  }

  enter() {
    this.tool.enter?.(this.stage.active);
  }

  escape() {
    this.tool.cancel?.();
    this.stage.redraw();
    if (this.case.state.following.length) this.case.cancel();
  }

  remove() {
    if (this.tool.remove) {
      this.tool.remove();
      this.stage.redraw();
    } else {
      this.objects.remove(this.case.state.current);
    }
  }

  interpolate() {
    interpolate(this);
  }

  zoom(factor) {
    const { canvas } = this.stage.active;
    this.stage.active.zoom(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
  }

  fit() {
    this.stage.active.fit();
  }

  enlarge() {
    this.stage.enlarge(this.stage.active);
  }

  nextView() {
    this.stage.next();
  }

  toggleStyle(name) {
    this.panels.setStyle(name, !this.style[name]);
  }

  preset(number) {
    this.panels.preset(number);
  }

  /** Mark the image as done and open the next one; not before its last answer, on all slices, is there. */
  async done() {
    const { case: work, path } = this;
    if (this.finishing === path) return; // asked before, and still waited for
    this.finishing = path;
    try {
      await work?.settled();
      if (this.case !== work || this.path !== path) return; // another image was opened meanwhile
      await this.images.remember({ state: "done" });
      await this.images.next();
    } finally {
      if (this.finishing === path) this.finishing = undefined;
    }
  }
}

for (const [id, shape] of [["undo", "undo"], ["redo", "redo"], ["help", "help"]]) {
  byId(id).append(icon(shape));
}

try {
  const info = await serverInfo();
  const app = new App(info);
  byId("notice").textContent = `${info.notice[0].toUpperCase()}${info.notice.slice(1)}.`;
  await app.images.refresh("");
  if (!(await app.video.goOn())) await app.goOn();
  document.documentElement.dataset.ready = "true";
} catch (refusal) {
  if (!(refusal instanceof Refusal)) throw refusal;
  tell(refusal.message, "error");
  if (refusal.status === 503) setTimeout(() => location.reload(), 3000);
}
