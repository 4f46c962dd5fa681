/** What was asked of the server and failed, but may pass: it is asked again after a while. */

import { Refusal } from "./api.js";

const AGAIN_MS = 2_000;
const PASSING = [0, 429, 502, 503, 504]; // no answer, too much to do, or a proxy without its server

/**
 * One kind of request.
 *
 * `again()` is called some time after failures, once for all of them; `onFault(failure)` is told of the first
 * one after a success, and of those that will not pass.
 */
export class Retry {
  constructor(again, onFault) {
    this.again = again;
    this.onFault = onFault;
    this.timer = 0;
    this.told = false;
    this.stopped = false;
  }

  succeeded() {
    this.told = false;
  }

  /** Gives whether it will be tried again. */
  failed(failure) {
    if (this.stopped) return false;
    const passes = !(failure instanceof Refusal) || PASSING.includes(failure.status);
    if (!passes || !this.told) this.onFault(failure);
    if (!passes) return false;
    this.told = true;
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      this.again();
    }, AGAIN_MS);
    return true;
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }
}
