/** What happens on the server, as it happens: a socket that comes back by itself. */

const PING_MS = 25_000;
const AGAIN_MS = 2_000;

/**
 * Listen to the events of a session.
 *
 * `on(event)` is called for every event of docs/server.md, and for `{type: "connected"}` after the
 * connection is made or made again, when something may have been missed, and `{type: "lost"}`. `look(axis, slice)` tells the
 * server what is looked at; `stop()` ends it.
 */
export class Events {
  constructor(api, on) {
    this.api = api;
    this.on = on;
    this.stopped = this.connected = false;
    this.looked = null;
    this.connect();
    this.pinging = setInterval(() => this.send({ type: "ping" }), PING_MS);
  }

  connect() {
    if (this.stopped) return;
    const socket = this.api.socket();
    this.socket = socket;
    socket.onopen = () => {
      this.connected = true;
      if (this.looked) this.send(this.looked);
      this.on({ type: "connected" });
    };
    socket.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (event.type === "closed") this.stop();
      this.on(event);
    };
    socket.onclose = () => {
      if (this.stopped) return;
      if (this.connected) this.on({ type: "lost" });
      this.connected = false;
      setTimeout(() => this.connect(), AGAIN_MS);
    };
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  look(axis, slice) {
    const message = { type: "look", axis, slice };
    if (this.looked && this.looked.axis === axis && this.looked.slice === slice) return;
    this.looked = message;
    clearTimeout(this.looking);
    this.looking = setTimeout(() => this.send(message), 150);
  }

  stop() {
    this.stopped = true;
    clearInterval(this.pinging);
    clearTimeout(this.looking);
    this.socket.close();
  }
}
