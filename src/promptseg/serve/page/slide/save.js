/** Saving the objects of a slide as GeoJSON: into the folder or as a download. */

import { byId, offer } from "../dom.js";
import { ask, tell } from "../status.js";

export class SaveSlide {
  constructor(app) {
    this.app = app;
    byId("save").addEventListener("click", () => this.ask());
    byId("save-cancel").addEventListener("click", () => byId("saving").close());
    byId("save-download").addEventListener("click", () => this.download());
    byId("save-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.write();
    });
  }

  ask() {
    const { case: work } = this.app;
    if (!work) return;
    if (!work.state.objects.some(({ empty }) => !empty)) {
      tell("There is nothing to save yet: draw a box (B) or click (P).", "warning");
      return;
    }
    byId("save-path").value ||= `${work.state.path.replace(/\.[a-z0-9]{2,5}$/i, "")}.geojson`;
    byId("save-note").textContent = "";
    byId("saving").showModal();
    byId("save-path").focus();
  }

  async write(overwrite = false) {
    const path = byId("save-path").value.trim();
    try {
      const done = await this.app.case.api.save({ path, overwrite });
      byId("saving").close();
      tell(`Saved ${done.path}.`);
    } catch (refusal) {
      if (refusal.status === 409 && !overwrite) {
        if (await ask(`${path} exists. Replace it?`, "Replace")) await this.write(true);
      } else {
        byId("save-note").textContent = refusal.message;
      }
    }
  }

  async download() {
    try {
      const blob = await this.app.case.api.download();
      offer(blob, "objects.geojson");
      byId("saving").close();
    } catch (refusal) {
      byId("save-note").textContent = refusal.message;
    }
  }
}
