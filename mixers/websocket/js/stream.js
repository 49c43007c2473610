// Streams: calls that stay open, while both sides send messages of the type DATA.
//
// The number of all messages of a stream is that of the CALL, negative if the other side
// has opened it. A side may send a message as long as it has credit, which is counted in
// bytes of encoded bodies and metadata, and overhead for each; what the program has received
// is given back when it is half of the window.

import { utf8 } from "./binary.js";
import { DATA, TeleportError } from "./message.js";

const overhead = 64; // bytes that a message costs beside its body and metadata
const pairOverhead = 32; // and a pair of metadata beside its key and value
const mostCredit = 2 ** 31 - 1;

/** The most bytes of a stream that may be sent before it is accepted. */
export const firstWindow = 16 << 10;
/** How large the windows of a connection's streams may be together. */
export const maxWindows = 16 << 20;

/** Reads a number of bytes as metadata have it; NaN if it is none. */
export function readBytes(text) {
  const n = /^\d{1,10}$/.test(text ?? "") ? Number(text) : NaN;
  return n > 0 && n <= mostCredit ? n : NaN;
}

/** What the user has of a stream. */
export class Stream {
  #end;

  constructor(end) {
    this.#end = end;
  }

  get acked() {
    return this.#end.acked;
  }

  get closed() {
    return this.#end.closed;
  }

  send(value) {
    return this.#end.send(value);
  }

  closeSend() {
    return this.#end.closeSend();
  }

  close() {
    this.#end.close();
  }

  next() {
    return this.#end.next();
  }

  /** Is called when a loop is left early. A handler may go on, and ends its stream when it returns. */
  async return(value) {
    if (this.#end.isOpener) this.close();
    return { done: true, value };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

/** This side's end of a stream. */
export class StreamEnd {
  acked = 0; // messages that the other side has certainly received
  sent = 0; // messages
  over = false;
  /** Ends the stream, and its call or handler, with an error; own: not by a fault. Set by those who make it. */
  abandon = (error, own) => this.finish(error, undefined, true);
  #connection = null;
  #key; // of the messages that are sent: the number of the CALL, negative if it is not ours
  #bytes; // whether the user gets bodies as bytes
  #window;
  #granted; // bytes that the other side may send altogether
  #arrived = 0; // of them have come
  #owed = 0; // bytes that the other side may be given
  #received = 0; // messages
  #queue = []; // messages that have come
  #readers = []; // calls of next that wait
  #peerDone = false; // the other side sends no more
  #credit = 0;
  #waiting = []; // messages that wait for credit, and the end
  #came = 0; // messages
  #sendDone = false;
  #error; // why the stream is over
  #settleClosed;

  constructor({ bytes, isOpener }) {
    this.#bytes = bytes;
    this.isOpener = isOpener;
    this.closed = new Promise((resolve, reject) => (this.#settleClosed = { resolve, reject }));
    this.closed.catch(() => {}); // not everybody waits for it
  }

  /** Begins on a connection. The other side has room for credit bytes, and may send granted of window. */
  open(connection, key, credit, window, granted = window) {
    this.#connection = connection;
    this.#key = key;
    this.#credit = credit;
    this.#window = window;
    this.#granted = granted;
    this.#owed = window - granted;
    connection.addStream(key, this, window);
    this.#pump();
  }

  send(value) {
    return new Promise((resolve, reject) => {
      if (this.over) throw this.#ended();
      if (this.#sendDone) throw new TeleportError(1, undefined, "closeSend was called");
      this.#waiting.push({ value, resolve, reject });
      this.#pump();
    });
  }

  closeSend() {
    if (this.over || this.#sendDone) return Promise.resolve();
    this.#sendDone = true;
    return new Promise((resolve) => {
      this.#waiting.push({ isEnd: true, resolve, reject: resolve });
      this.#pump();
    });
  }

  close() {
    this.#queue = [];
    if (!this.over) this.abandon(new TeleportError(499, undefined, "the stream was closed"), true);
  }

  next() {
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#deliver();
    });
  }

  // pump sends what waits, as far as there is credit.
  #pump() {
    while (this.#connection && this.#waiting.length > 0 && (this.#credit > 0 || this.#waiting[0].isEnd)) {
      const { value, isEnd, resolve, reject } = this.#waiting.shift();
      if (isEnd) {
        this.#connection.control("end", this.#key, { m: this.sent });
        resolve();
        continue;
      }
      const message = { type: DATA, seq: this.#key, route: "", meta: new URLSearchParams(), body: value };
      try {
        this.#connection.send(message);
      } catch (err) {
        reject(new TeleportError(104, undefined, err.message));
        continue;
      }
      if (message.size === undefined) return this.fault(new TeleportError(501, undefined, "the sub-protocol does not count the bytes of messages, and has no streams"));
      this.#credit -= message.size + overhead;
      this.sent++;
      resolve();
    }
  }

  // deliver gives messages that have come to those who wait.
  #deliver() {
    while (this.#readers.length > 0) {
      if (this.#queue.length > 0) {
        const { read, cost } = this.#queue.shift();
        const { resolve, reject } = this.#readers.shift();
        try {
          resolve({ done: false, value: read(this.#bytes) });
        } catch (err) {
          const error = new TeleportError(400, undefined, `a message of the stream: ${err.message}`);
          reject(error);
          this.fault(error);
          continue;
        }
        this.#giveBack(cost);
      } else if (this.#error) {
        this.#readers.shift().reject(this.#error);
      } else if (this.over || this.#peerDone) {
        this.#readers.shift().resolve({ done: true, value: undefined });
      } else {
        return;
      }
    }
  }

  // giveBack lets the other side send as much as was received, when that is half of the window.
  #giveBack(cost) {
    this.#owed += cost;
    this.#received++;
    if (this.#owed * 2 < this.#window || this.over || this.#peerDone) return;
    this.#connection.control("credit", this.#key, { n: this.#owed, m: this.#received });
    this.#granted += this.#owed;
    this.#owed = 0;
  }

  /** A message has come. */
  data({ read, size, meta }) {
    if (this.over) return;
    if (this.#peerDone) return this.fault(new TeleportError(400, undefined, "a message of the stream came behind its end"));
    if (this.#arrived >= this.#granted) {
      return this.fault(new TeleportError(400, undefined, "the other side has sent more than the window of the stream"));
    }
    let cost;
    try {
      cost = size() + overhead;
      for (const [key, value] of meta) cost += utf8(key).length + utf8(value).length + pairOverhead;
    } catch (err) {
      return this.fault(new TeleportError(400, undefined, `a message of the stream: ${err.message}`));
    }
    this.#arrived += cost;
    this.#came++;
    this.#queue.push({ read, cost });
    this.#deliver();
  }

  /** A message of the type CONTROL has come. */
  control(verb, meta) {
    switch (verb) {
      case "end": {
        const error = this.#lost(meta.get("m"));
        if (error) return this.fault(error);
        this.#peerDone = true;
        return this.#deliver();
      }
      case "credit": {
        const n = readBytes(meta.get("n"));
        if (!(this.#credit + n <= mostCredit)) {
          return this.fault(new TeleportError(400, undefined, `credit: ${meta.get("n")} bytes more than ${this.#credit}; want at least 1, and at most 2^31-1 altogether`));
        }
        this.#credit += n;
        const m = Number(meta.get("m"));
        if (m > this.acked) this.acked = Math.min(m, this.sent);
        return this.#pump();
      }
      case "reset":
        return this.abandon(new TeleportError(Number(meta.get("code")) || 499, undefined, meta.get("reason") ?? ""), false);
    }
  }

  // lost is the error of a stream of which not all has come that was sent; null does not say.
  #lost(sent) {
    if (sent === null || sent === `${this.#came}`) return undefined;
    return new TeleportError(400, undefined, `${this.#came} messages of the stream have come; the other side says that it has sent ${sent}`);
  }

  /** The handler has returned, with these metadata. */
  replied(meta) {
    const error = this.#lost(meta.get("X-Stream"));
    meta.delete("X-Stream");
    this.finish(error, meta, false);
  }

  /** Ends the stream by a fault of the other side, which is sent to it. */
  fault(error) {
    if (this.over) return;
    this.#connection.control("reset", this.#key, { code: error.code, reason: error.reason });
    this.abandon(error, false);
  }

  /** The stream has ended, with an error or with the metadata of its reply. drop: what has come is not received any more. */
  finish(error, meta, drop) {
    if (this.over) return;
    this.over = true;
    this.#error = error;
    this.#connection?.removeStream(this.#key, this.#window);
    if (drop) this.#queue = [];
    for (const { reject } of this.#waiting) reject(this.#ended());
    this.#waiting = [];
    if (error) this.#settleClosed.reject(error);
    else this.#settleClosed.resolve(meta);
    this.#deliver();
  }

  #ended() {
    return this.#error ?? new TeleportError(1, undefined, "the stream has ended");
  }
}
