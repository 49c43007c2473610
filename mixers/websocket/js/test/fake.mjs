// A WebSocket class without a network: the test plays the server.

import { connect } from "../teleport.js";

/** Returns a class whose instances are in its field all, in the order of their dials. */
export function fakeWebSocket() {
  return class FakeWebSocket extends EventTarget {
    static all = [];
    static get last() {
      return this.all.at(-1);
    }

    binaryType = "blob";
    bufferedAmount = 0;
    protocol = "";
    readyState = 0;
    sent = [];

    constructor(url, protocols) {
      super();
      this.url = url;
      this.protocols = protocols;
      this.constructor.all.push(this);
    }

    /** What was sent, parsed. */
    get messages() {
      return this.sent.map((text) => JSON.parse(text));
    }

    /** The last message to a route, or reply. */
    find(where) {
      return this.messages.findLast((m) => Object.entries(where).every(([k, v]) => m[k] === v));
    }

    accept(protocol = this.protocols[0]) {
      this.protocol = protocol;
      this.readyState = 1;
      this.dispatchEvent(new Event("open"));
    }

    deliver(data) {
      const text = typeof data === "string" || data instanceof ArrayBuffer ? data : JSON.stringify(data);
      this.dispatchEvent(Object.assign(new Event("message"), { data: text }));
    }

    /** The server, or the network, ends the connection. */
    drop(code = 1006, reason = "") {
      this.readyState = 3;
      if (code === 1006) this.dispatchEvent(new Event("error"));
      this.dispatchEvent(Object.assign(new Event("close"), { code, reason, wasClean: code !== 1006 }));
    }

    send(data) {
      if (this.readyState === 0) throw new DOMException("still connecting", "InvalidStateError");
      if (this.readyState === 1) this.sent.push(data);
    }

    close(code, reason) {
      if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException(`code ${code}`, "InvalidAccessError");
      this.readyState = 2;
      this.closedWith = { code, reason };
    }
  };
}

/** Lets everything run that can run without a timer. */
export const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Opens a session over a fake; with open it is accepted. */
export async function session(t, options = {}, open = true) {
  const WebSocket = fakeWebSocket();
  const warnings = [];
  const s = connect("ws://example.org/ws", { WebSocket, warn: (text) => warnings.push(text), ...options });
  t.after(() => s.close());
  await turn();
  if (open) {
    WebSocket.last.accept();
    await turn();
  }
  return { s, WebSocket, warnings };
}

/** A clock that the test moves: setTimeout, setInterval and performance.now. */
export function clock(t) {
  let now = 1000;
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  t.mock.method(performance, "now", () => now);
  return async (ms) => {
    now += ms;
    t.mock.timers.tick(ms);
    await turn();
  };
}

/** The error of a promise that must be rejected. */
export async function rejection(promise) {
  const value = await promise.then(
    (v) => ({ fulfilled: v }),
    (err) => ({ err }),
  );
  if (!("err" in value)) throw new Error(`was fulfilled: ${JSON.stringify(value.fulfilled)}`);
  return value.err;
}
