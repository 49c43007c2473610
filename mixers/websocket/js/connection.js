// A connection of a session: one WebSocket, and what is known of it.

import { Context } from "./context.js";
import { CONTROL, TeleportError, maxSeq } from "./message.js";
import { firstWindow, maxWindows, readBytes } from "./stream.js";

export class Connection {
  ws = null;
  protocol = undefined; // the one that both ends have agreed on
  openedAt = Infinity;
  receivedAt = 0;
  isLost = false; // with the option resume: there is no WebSocket at the moment
  handlers = new Map(); // contexts of the server's calls, by their number
  /** What the server has said that it understands; window: how many bytes of a stream it takes at first. */
  peer = { known: false, cancel: false, window: 0 };
  /** A call of the setup may be aborted: hello is due when the session is open. */
  helloDue = false;
  #greeted = false; // hello was said
  #aborted = new Set(); // numbers of unanswered calls that were aborted before the server said hello
  #streams = new Map(); // ends by the number of the messages that they send
  #windows = 0; // of them, in bytes
  #bye = {}; // what the server has said before it closes
  #options;
  #ended = new AbortController();

  constructor(options) {
    this.#options = options;
  }

  /** Is aborted when the connection has ended. */
  get signal() {
    return this.#ended.signal;
  }

  /** The error with which the server has said that it closes, if it has. */
  get farewell() {
    return this.#bye.error;
  }

  /** Connects; throws if the environment forbids it. again: the URL for another connection of the same session. */
  dial(url, again, on) {
    const { protocols, WebSocket, resume, maxMessage } = this.#options;
    const names = protocols.map((p) => p.name);
    const ws = (this.ws = resume ? resume({ WebSocket, protocols: names, url, again, maxMessage }) : new WebSocket(url, names));
    ws.binaryType = "arraybuffer";
    ws.addEventListener("open", () => {
      this.openedAt = performance.now();
      this.protocol = protocols.find((p) => p.name === ws.protocol);
      on.open();
    });
    ws.addEventListener("message", ({ data }) => on.message(data));
    ws.addEventListener("error", () => {}); // the close follows
    for (const type of ["lost", "resumed"]) ws.addEventListener(type, () => ((this.isLost = type === "lost"), on.change(type)));
    ws.addEventListener("close", ({ code, reason, wasClean }) => {
      on.close({ code: code || 1006, reason, wasClean }); // Deno has 0 for a connection that broke
    });
  }

  /** Sends a message; throws if it cannot be encoded or is too large. */
  send(message) {
    const limit = this.#options.maxMessage;
    const data = this.protocol.encode(message);
    const size = sizeOf(data, limit);
    if (size > limit) throw new Error(`a message of ${size} bytes is over the limit of ${limit}`);
    if (this.ws.readyState === 1) this.ws.send(data); // else it has ended, as the other side knows
  }

  /** Sends a message of the type CONTROL; the metadata must not be large. */
  control(verb, seq, meta = {}) {
    this.send({ type: CONTROL, seq, route: verb, meta: new URLSearchParams(meta), body: undefined });
  }

  /** Says once what this side understands, so that the server says the same. */
  sayHello() {
    if (this.#greeted) return;
    this.#greeted = true;
    this.control("hello", 0, { v: 1, f: "cancel,stream", w: Math.min(this.#options.streamWindow, firstWindow) });
  }

  /** The server has said hello. */
  acceptHello(meta) {
    const features = (meta.get("f") ?? "").split(",");
    const window = features.includes("stream") ? readBytes(meta.get("w")) || 0 : 0;
    if (!this.peer.known) this.peer = { known: true, cancel: features.includes("cancel"), window };
    this.sayHello();
    for (const seq of this.#aborted) this.cancel(seq);
    this.#aborted.clear();
  }

  /** Cancels a call, if the server takes that; before its hello that is not known yet. At most maxCalls wait for it. */
  cancel(seq) {
    if (this.peer.cancel) this.control("cancel", seq);
    else if (!this.peer.known && this.#aborted.size < this.#options.maxCalls) this.#aborted.add(seq);
  }

  /** The reply to an aborted call has come: there is nothing left to cancel. */
  answered(seq) {
    this.#aborted.delete(seq);
  }

  /** The server does not wait for a call any more; 0: for none of its calls. */
  acceptCancel(seq) {
    for (const [number, context] of this.handlers) {
      if (seq === 0 || seq === number) Context.abort(context, new TeleportError(499, undefined, "the caller has given up"));
    }
  }

  /** The stream of a number as the other side's messages have it. */
  stream(seq) {
    return this.#streams.get(-seq);
  }

  addStream(key, end, window) {
    this.#streams.set(key, end);
    this.#windows += window;
  }

  removeStream(key, window) {
    if (this.#streams.delete(key)) this.#windows -= window;
  }

  /** The window of a new stream that shall have so many bytes. */
  windowFor(bytes) {
    return this.#windows + bytes > maxWindows ? Math.min(bytes, firstWindow) : bytes;
  }

  /** Closes the WebSocket. Its events no longer matter to the caller. */
  end(code, reason) {
    this.ws?.close(code, clip(reason, 123)); // throws for a code that is not 1000 or 3000 to 4999
    this.abort();
  }

  abort() {
    this.#ended.abort(new TeleportError(102));
  }

  /** Takes note of the metadata of a "bye". */
  goodbye(meta) {
    const code = Number(meta.get("code"));
    this.#bye = {
      n: meta.has("n") ? Number(meta.get("n")) : undefined,
      error: code ? new TeleportError(code, meta.get("message") ?? undefined, meta.get("reason") ?? "") : undefined,
    };
  }

  /**
   * Reports whether the server has said that it will not run a call that it has not
   * answered: 0 is all, else those above n, which counts on from 2^31-1 to 1.
   */
  notRun(seq) {
    const { n } = this.#bye;
    if (!Number.isInteger(n)) return false;
    const above = (seq - n + maxSeq) % maxSeq;
    return n === 0 || (above > 0 && above < 2 ** 30);
  }
}

/** The size of a message in bytes; of a text that is certainly below the limit, about that. */
export function sizeOf(data, limit) {
  if (typeof data !== "string") return data.byteLength;
  return data.length * 3 <= limit ? data.length : new TextEncoder().encode(data).length;
}

// clip cuts a text to as many bytes of UTF-8, which the reason of a close is limited to.
function clip(text, bytes) {
  while (new TextEncoder().encode(text).length > bytes) text = text.slice(0, -1);
  return text;
}
