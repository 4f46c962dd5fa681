/** Saving: into the folder or as a download, in every format the server writes. */

import { byId, make, offer } from "./dom.js";
import { ask, tell } from "./status.js";

/** What people call a format; the ending alone, where it is its own name. */
const NAMES = {
  ".nii.gz": "NIfTI", ".seg.nrrd": "NRRD for 3D Slicer", ".nrrd": "NRRD", ".mha": "MetaImage",
  ".mgz": "FreeSurfer", ".npz": "NumPy", ".tif": "TIFF", ".png": "PNG", ".dcm": "DICOM SEG",
  ".rtstruct.dcm": "DICOM RT Structure Set",
};
const titleOf = (ending) => (NAMES[ending] ? `${NAMES[ending]} (${ending})` : ending);

/** The name of an image without its ending. */
const stemOf = (path, endings) => {
  const found = endings.filter((ending) => path.toLowerCase().endsWith(ending));
  const longest = Math.max(0, ...found.map((ending) => ending.length));
  const known = longest || (/\.[a-z0-9]{2,5}$/i.exec(path) || [""])[0].length;
  return path.slice(0, path.length - known);
};

export class Save {
  constructor(app, saved) {
    this.app = app;
    this.saved = saved;
    byId("save").addEventListener("click", () => this.ask());
    byId("save-ending").addEventListener("change", () => this.suggest());
    byId("save-cancel").addEventListener("click", () => byId("saving").close());
    byId("save-download").addEventListener("click", () => this.download());
    byId("save-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.write();
    });
  }

  get kind() {
    return this.app.case.isVolume ? "volume" : "picture";
  }

  /** The dialog. */
  ask() {
    const { case: work, info } = this.app;
    if (!work) return;
    if (!work.state.objects.some((object) => object.label !== null)) {
      tell("There is nothing to save yet: draw a box (B) or click (P).", "warning");
      return;
    }
    const endings = info.endings[this.kind];
    const chosen = byId("save-ending").value;
    byId("save-ending").replaceChildren(...endings.map((e) => make("option", { text: titleOf(e), value: e })));
    const usual = this.kind === "volume" ? ".nii.gz" : ".png";
    byId("save-ending").value = endings.includes(chosen) ? chosen : endings.includes(usual) ? usual : endings[0];
    byId("save-into").hidden = !info.folder || !work.state.path;
    byId("save-path").value = "";
    this.suggest();
    const waiting = work.state.following.length
      ? "Answers are still on their way to other slices: what is there by now would be saved." : "";
    byId("save-note").textContent = waiting;
    byId("saving").showModal();
    byId("save-path").focus();
  }

  suggest() {
    const { case: work, info } = this.app;
    const ending = byId("save-ending").value;
    const typed = byId("save-path").value;
    const stem = typed ? stemOf(typed, info.endings[this.kind]) : `${stemOf(work.state.path || work.image.name, [...info.endings[this.kind], ".dcm"])}_mask`;
    byId("save-path").value = stem + ending;
    const layered = info.layered[this.kind].includes(ending);
    byId("save-overlap-row").hidden = layered;
    if (layered) byId("save-overlap").value = "keep";
  }

  async write(overwrite = false) {
    const { case: work } = this.app;
    const path = byId("save-path").value.trim();
    try {
      const done = await work.api.save({
        path, overwrite, overlap: byId("save-overlap").value, deidentify: byId("save-deidentify").checked,
      });
      byId("saving").close();
      tell(`Saved ${done.path}.`);
      this.saved();
    } catch (refusal) {
      if (refusal.status === 409 && !overwrite) {
        if (await ask(`${path} exists. Replace it?`, "Replace")) await this.write(true);
      } else {
        byId("save-note").textContent = refusal.message;
      }
    }
  }

  async download() {
    const { case: work } = this.app;
    const ending = byId("save-ending").value;
    try {
      const blob = await work.api.download(ending, byId("save-overlap").value);
      offer(blob, `masks${ending}`);
      byId("saving").close();
    } catch (refusal) {
      byId("save-note").textContent = refusal.message;
    }
  }
}
