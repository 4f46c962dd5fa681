/** Words: a field beside the tools. It suggests what the model knows, and is not there if that takes no words. */

import { byId, make } from "./dom.js";

/** What a suggestion says besides the word. */
function about({ synonyms = [], modalities = [] }) {
  return [synonyms.length ? `also: ${synonyms.join(", ")}` : "", modalities.join(", ")].filter(Boolean).join(" · ");
}

export class Words {
  constructor(app) {
    this.app = app;
    byId("words").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find();
    });
    byId("words-phrase").addEventListener("keydown", (event) => {
      if (event.key === "Escape") byId("words-phrase").blur();
    });
  }

  /** Set out for a case: words for images like this one come first. */
  begin({ image }) {
    const words = this.app.model?.words;
    byId("words").hidden = !words;
    byId("words-phrase").value = "";
    const known = words ? [...words.known] : [];
    const fits = ({ modalities = [] }) => Number(!modalities.length || modalities.includes(image.modality));
    known.sort((a, b) => fits(b) - fits(a));
    byId("words-known").replaceChildren(
      ...known.map((word) => make("option", { value: word.name, label: about(word) || word.name })));
    byId("words-phrase").placeholder = known.length ? `words: ${known[0].name}` : "words";
  }

  /** Go to the field; where there is none, say which model takes words. */
  focus() {
    if (!byId("words").hidden) {
      byId("words-phrase").select();
      byId("words-phrase").focus();
      return;
    }
    const { info, case: work, tell } = this.app;
    const able = info.models.filter((model) => model.words).map((model) => model.name);
    const how = able.length ? `${able.join(" or ")} does: open the image with it (⋯ beside its name)`
      : "start the server with --model promptseg-words";
    tell(`${work.state.model} takes no words; ${how}.`, "warning");
  }

  /** Look for what is written; it becomes an object under its name. */
  async find() {
    const field = byId("words-phrase");
    const phrase = field.value.trim();
    if (!phrase) {
      this.app.tell("Write what to look for.", "warning");
      return;
    }
    if (!(await this.app.prompts.words(this.app.stage.active, phrase))) return;
    if (field.value.trim() === phrase) field.value = "";
    field.blur();
  }
}
