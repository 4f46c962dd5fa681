/** Results: written by the server frame by frame, then downloaded, or saved into its folder. */

import { byId, make } from "../dom.js";
import { ask, tell } from "../status.js";

const KINDS = ["overlay", "masks", "areas", "labels", "seg"];
const sizeOf = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export class Results {
  constructor(mode, saved) {
    this.mode = mode;
    this.saved = saved;
    byId("v-results").addEventListener("click", () => this.ask());
    byId("v-save-close").addEventListener("click", () => byId("v-saving").close());
    byId("v-save-write").addEventListener("click", () => this.write());
    byId("v-save-stop").addEventListener("click", () => mode.work?.cancel());
    byId("v-save-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.download();
    });
  }

  get chosen() {
    return KINDS.filter((kind) => byId(`v-what-${kind}`).checked && !byId(`v-what-${kind}`).disabled);
  }

  ask() {
    const { work } = this.mode;
    if (!work || byId("v-saving").open) return;
    if (!work.state.objects.some((object) => object.frames > 0)) {
      tell("There is no result yet: draw a box (B) or click (P), then track.", "warning");
      return;
    }
    byId("v-what-seg").disabled = !work.clip.cine;
    byId("v-what-seg").checked = work.clip.cine;
    byId("v-what-seg").closest("label").title = work.clip.cine ? "" : "of DICOM cines only";
    const stem = work.path.replace(/\.[a-z0-9]{2,5}$/i, "");
    byId("v-save-folder").value = `${stem}_results`;
    const waiting = work.state.objects.reduce((sum, object) => sum + (object.followed ? object.waiting : 0), 0);
    const fresh = work.state.objects.filter((object) => !object.followed && object.waiting).map(({ name }) => name);
    byId("v-save-pending").textContent = [
      fresh.length ? `Not tracked to the end yet: ${fresh.join(", ")}.` : "",
      waiting ? "Corrections that were not tracked yet are on their own frames alone." : "",
    ].filter(Boolean).join(" ");
    byId("v-save-note").textContent = "";
    byId("v-save-files").replaceChildren();
    this.busy(false);
    byId("v-saving").showModal();
  }

  busy(isBusy) {
    byId("v-save-busy").hidden = !isBusy;
    byId("v-save-bar").value = 0;
    for (const id of ["v-save-download", "v-save-write"]) byId(id).disabled = isBusy;
  }

  showProgress({ done, of }) {
    byId("v-save-bar").value = done / of;
    byId("v-save-text").textContent = `${done.toLocaleString("en")} of ${of.toLocaleString("en")} frames`;
  }

  async have(body) {
    const { work } = this.mode;
    byId("v-save-note").textContent = "";
    byId("v-save-text").textContent = "";
    byId("v-save-files").replaceChildren();
    this.busy(true);
    try {
      return await work.api.results({ what: this.chosen, ...body });
    } finally {
      this.busy(false);
      work.progress = null;
      work.changed();
    }
  }

  async download() {
    const { work } = this.mode;
    try {
      const { files } = await this.have({});
      byId("v-save-files").replaceChildren(...files.map(({ name, bytes }) => {
        const link = make("a", { href: work.api.fileAddress(name), download: "", text: name });
        return make("li", {}, link, make("span", { class: "hint", text: ` ${sizeOf(bytes)}` }));
      }));
      for (const link of byId("v-save-files").querySelectorAll("a")) { // one after the other: browsers drop what comes at once
        link.click();
        await new Promise((resolve) => setTimeout(resolve, 400));
      }
    } catch (refusal) {
      byId("v-save-note").textContent = refusal.message;
    }
  }

  async write(overwrite = false) {
    const folder = byId("v-save-folder").value.trim();
    try {
      const done = await this.have({ folder, overwrite });
      byId("v-saving").close();
      tell(`Saved ${done.files.length} files in ${done.folder}.`);
      this.saved();
    } catch (refusal) {
      const exists = refusal.status === 409 && /exists/.test(refusal.message) && !overwrite;
      if (exists && (await ask(`${folder} has such files already. Replace them?`, "Replace"))) await this.write(true);
      else byId("v-save-note").textContent = refusal.message;
    }
  }
}
