/**
 * What is open: a session on the server, and what is done to it one after the other.
 *
 * It is an `EventTarget`; "change" is dispatched after every change of the session, "view" where only what
 * is shown is different, "ended" when the session is over.
 */

import { Refusal } from "./api.js";

export class Opened extends EventTarget {
  /** Of the state that opening answered; `tell` takes refusals and warnings for the user. */
  constructor(api, state, tell) {
    super();
    this.api = api;
    this.state = state;
    this.tell = tell;
    this.revision = 0;
    this.queue = Promise.resolve();
    this.waiting = 0;
    this.asked = new Set(); // prompts that have no answer yet
    this.hidden = new Set();
  }

  viewed() {
    this.dispatchEvent(new Event("view"));
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Do something on the server and show what it changed, by `apply`.
   *
   * `send(since)` makes the request. Gives true when it was done; a refusal is told, and gives false.
   */
  act(send) {
    this.waiting += 1;
    this.changed();
    const done = this.queue.then(async () => {
      try {
        await this.apply(await send(this.revision));
        return true;
      } catch (refusal) {
        this.fault(refusal);
        return false;
      } finally {
        this.waiting -= 1;
        this.changed();
      }
    });
    this.queue = done;
    return done;
  }

  /** Show a prompt until `done` settles. */
  async awaiting(prompt, done) {
    this.asked.add(prompt);
    this.viewed();
    try {
      return await done;
    } finally {
      this.asked.delete(prompt);
      this.viewed();
    }
  }

  /** The name of the object that will be current once what was asked so far is done, as a promise. */
  currentSoon() {
    return this.queue.then(() => this.state.current);
  }

  fault(refusal) {
    if (!(refusal instanceof Refusal)) {
      console.error(refusal);
      this.tell(`The page made a mistake: ${refusal.message}. Reload it; nothing is lost.`, "error");
    } else if (refusal.status === 410 || refusal.status === 404) {
      this.ended(refusal.message);
    } else {
      this.tell(refusal.message, refusal.status >= 500 || refusal.status === 0 ? "error" : "warning");
    }
  }

  /** The session is over, for a reason. */
  ended(detail) {
    this.dispatchEvent(new CustomEvent("ended", { detail }));
  }
}
