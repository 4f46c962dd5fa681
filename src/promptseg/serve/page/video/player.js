/** Playing: frames at the speed of the video, or as they come where that is slower. */

export class Player {
  /** `goTo(place)` shows a frame; `changed(playing)` is told when playing begins and ends. */
  constructor(changed) {
    this.changed = changed;
    this.work = null;
    this.speed = 1;
    this.playing = false;
  }

  show(work) {
    this.stop();
    this.work = work;
  }

  toggle() {
    if (this.playing) this.stop();
    else this.start();
  }

  start() {
    const { work } = this;
    if (!work || work.places < 2) return;
    if (work.place >= work.places - 1) work.goTo(0);
    this.playing = true;
    this.due = performance.now();
    this.changed(true);
    const tick = (now) => {
      if (!this.playing) return;
      const each = 1000 / (work.rate * this.speed);
      const isThere = work.frames.get(work.frame) !== null;
      if (now >= this.due && isThere) {
        if (work.place >= work.places - 1) {
          this.stop();
          return;
        }
        this.due = Math.max(this.due + each, now - each); // what was late is not made up for
        work.goTo(work.place + 1, true);
      }
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.changed(false);
    this.work?.want();
  }
}
