/** The page of one whole slide, put together. */

import { Refusal, imagesOf, rememberImage } from "../api.js";
import { byId, icon, make } from "../dom.js";
import { History } from "../history.js";
import { Objects } from "../objects.js";
import { ask, tell } from "../status.js";
import { SlideApi, openSlide } from "./api.js";
import { SlideCase } from "./case.js";
import { listenToKeys } from "./keys.js";
import { Overview } from "./overview.js";
import { SaveSlide } from "./save.js";
import { Tiles } from "./tiles.js";
import { Tools } from "./tools.js";
import { Viewer } from "./viewer.js";

const KEPT = "promptseg-slide";
const STATES = ["to do", "begun", "done", "flagged"];

class SlideApp {
  /** Of a slide's path, and how it is to be opened: `model`, `series`, `of`, `afresh`. */
  constructor(path, how) {
    this.path = path;
    this.how = how;
    this.case = null;
    this.tell = tell;
    this.style = { fill: true, prompts: true };
    this.tools = new Tools(this);
    this.viewer = new Viewer(byId("slide"), this, () => this.tools.draw());
    this.overview = new Overview(byId("overview"), this);
    this.objects = new Objects(this);
    this.history = new History(this);
    this.save = new SaveSlide(this);
    this.tools.listen(byId("slide"));
    byId("back").addEventListener("click", () => this.back());
    byId("state").replaceChildren(...STATES.map((state) => make("option", { text: state, value: state })));
    byId("state").addEventListener("change", (event) => this.remember({ state: event.target.value }));
    byId("note").addEventListener("input", (event) => { // a page may be closed while one writes
      clearTimeout(this.writing);
      const note = event.target.value;
      this.writing = setTimeout(() => this.remember({ note }), 400);
    });
    for (const name of ["fill", "prompts"]) {
      byId(`style-${name}`).addEventListener("change", (event) => {
        this.style[name] = event.target.checked;
        this.viewer.redraw();
      });
    }
    listenToKeys(this);
  }

  toggleStyle(name) {
    byId(`style-${name}`).click();
  }

  /** Move the view by a share of it, so that the middle goes the other way. */
  pan(dx, dy, far) {
    const share = far ? 0.5 : 0.1;
    const [width, height] = this.viewer.size;
    this.viewer.cross = true;
    this.viewer.pan(dx * share * width, dy * share * height);
  }

  /** Go on with the session this window had, or open the slide. */
  async begin() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
    if (kept && kept.path === this.path && !this.how.afresh && kept.of === this.how.of) {
      try {
        await this.show(await new SlideApi(kept.session).state());
        return;
      } catch (refusal) {
        if (!(refusal instanceof Refusal)) throw refusal;
      }
    }
    await this.open();
  }

  async open(fields = {}) {
    byId("opening").hidden = false;
    try {
      await this.show(await openSlide({ path: this.path, ...this.how, ...fields }));
      delete this.how.afresh; // once
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (refusal.status === 409 && !fields.take_over) {
        const text = "This slide is open in another window. Work on it here? The other window then ends; nothing is lost.";
        if (await ask(text, "Work here")) await this.open({ ...fields, take_over: true });
      } else if (refusal.status === 503 || refusal.status === 0) {
        tell(`${refusal.message} Trying again in a moment ...`);
        setTimeout(() => this.open(fields), 3000);
        return;
      } else {
        tell(refusal.message, "error");
      }
    }
    byId("opening").hidden = true;
  }

  /** Begin to work on a session. */
  async show(state) {
    const before = this.case;
    this.stop();
    const work = new SlideCase(state, tell);
    this.case = work;
    this.tiles = new Tiles(work.api, work.slide, () => {
      this.viewer.redraw();
      this.showBusy();
    });
    sessionStorage.setItem(KEPT, JSON.stringify({ path: state.path, session: state.session, of: this.how.of }));
    const name = state.path.split("/").pop();
    document.title = `${name} · promptseg`;
    document.documentElement.toggleAttribute("data-open", true);
    byId("opening").hidden = true;
    byId("name").textContent = name;
    byId("model").textContent = state.model.name;
    this.showFacts();
    this.objects.begin();
    this.tools.begin(work);
    work.addEventListener("view", () => this.viewer.redraw());
    work.addEventListener("change", () => work === this.case && this.changed());
    work.addEventListener("ended", (event) => work === this.case && this.ended(event.detail));
    if (!before) this.viewer.fit();
    this.viewer.resized();
    await work.outlines();
    this.changed();
    await this.showRemembered();
  }

  changed() {
    this.viewer.redraw();
    this.showBusy();
    const sets = JSON.stringify([[...this.case.hidden], [...this.case.locked]]);
    if (this.shownState === this.case.state && this.shownSets === sets) return;
    this.shownState = this.case.state;
    this.shownSets = sets;
    this.objects.sizes = this.case.sizes;
    this.objects.show();
    this.history.show();
    if (this.case.state.steps.length === 2) this.showRemembered(); // it is begun by now
  }

  showBusy() {
    const busy = this.case.busy;
    byId("spinner").hidden = !busy;
    byId("doing").textContent = busy ? "The model is answering ..." : "Ready";
    document.documentElement.dataset.busy = String(busy);
    document.documentElement.dataset.loading = String(this.tiles.busy);
  }

  showFacts() {
    const { width, height, microns } = this.case.slide;
    const rows = [["size", `${width} × ${height} pixels`]];
    if (microns) {
      const sides = [width * microns[0], height * microns[1]].map((n) => (n / 1000).toFixed(1));
      rows.push(["pixel", `${microns[0].toPrecision(3)} µm`], ["slide", `${sides.join(" × ")} mm`]);
    } else {
      rows.push(["pixel", "of unknown size"]);
    }
    byId("facts").replaceChildren(...rows.flatMap(([name, text]) => [make("dt", { text: name }), make("dd", { text })]));
  }

  /** What is under the mouse. */
  showUnder([px, py]) {
    const { viewer } = this;
    if (!viewer.isOn(px, py)) {
      byId("under").textContent = "";
      return;
    }
    const [x, y] = viewer.pixelAt(px, py);
    const share = viewer.scale >= 1 ? `${viewer.scale.toFixed(1)} : 1` : `1 : ${(1 / viewer.scale).toFixed(1)}`;
    byId("under").textContent = `x ${x}  y ${y}  ·  ${share}`;
  }

  async showRemembered() {
    try {
      const folder = this.path.split("/").slice(0, -1).join("/");
      const { entries } = await imagesOf(folder);
      const known = entries.find((entry) => entry.path === this.path);
      if (!known) return;
      byId("state").value = known.state;
      if (document.activeElement !== byId("note")) byId("note").value = known.note;
    } catch (refusal) {
      tell(refusal.message, "error");
    }
  }

  async remember(fields) {
    try {
      await rememberImage(this.path, fields);
    } catch (refusal) {
      tell(refusal.message, "error");
    }
  }

  async ended(why) {
    this.stop();
    if (await ask(`${why}. Nothing is lost: open the slide again?`, "Open again", "Close")) await this.open();
    else this.back();
  }

  stop() {
    this.case?.stop();
    this.tiles?.stop();
  }

  /** To the list of images. */
  async back() {
    sessionStorage.removeItem(KEPT);
    this.stop();
    await this.case?.api.close({ keepalive: true }).catch(() => {});
    location.assign("../");
  }
}

for (const [id, shape] of [["undo", "undo"], ["redo", "redo"], ["help", "help"]]) byId(id).append(icon(shape));

const { path = "", ...asked } = Object.fromEntries(new URLSearchParams(location.search));
const how = Object.fromEntries(["model", "series", "of"].filter((name) => asked[name]).map((name) => [name, asked[name]]));
if (asked.afresh) how.afresh = true;
const again = new URLSearchParams({ path, ...how });
again.delete("afresh"); // loaded again, the page goes on
history.replaceState(null, "", `?${again}`);
const app = new SlideApp(path, how);
await app.begin();
document.documentElement.dataset.ready = "true";
