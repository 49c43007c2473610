// Sessions that outlive their connections:
//
//     import { connect } from "./teleport.js";
//     import { resume } from "./resume.js";
//     const session = connect("/ws", { resume: resume() });
//
// To the session, a ResumedWebSocket is a WebSocket. Its frames travel in a stream of bytes, and that
// in the binary messages of one WebSocket after the other: both sides keep what the other
// one has not acknowledged, and send it again on the next connection. records.js has what
// is on the wire; Go's package mixers/resume says why.

import { bytesOf } from "./binary.js";
import { duration, maxTimer, withDefaults } from "./options.js";
import * as wire from "./records.js";

const prefix = "resume."; // of the name of a sub-protocol
const slack = 4 << 10; // room beside the buffer, for acknowledgements and the end
const ackEvery = 32 << 10; // bytes after which this side acknowledges, if it sends nothing else
const batch = 64 << 10; // bytes of a message, about
const grace = 1500; // how long the end waits for the other side to receive more, in ms
const connectTimeout = 10_000; // of an attempt to connect again, in ms
const pauses = { min: 20, max: 2000 }; // bounds of the random pauses between attempts, in ms
const times = ["window", "keepAlive", "idleTimeout"]; // options, in ms

const defaults = { window: 30_000, buffer: 1 << 20, keepAlive: 5000, idleTimeout: 15_000 };

/** The value of the option resume of connect. */
export function resume(options = {}) {
  const o = withDefaults("resume", defaults, options);
  for (const name of times) {
    duration(name, o[name]);
    o[name] = Math.min(o[name], maxTimer);
  }
  if (!(o.buffer >= 128 << 10)) throw new TypeError(`resume: buffer is ${o.buffer}: want at least ${128 << 10} bytes`);
  return (args) => new ResumedWebSocket({ ...o, ...args });
}

/** The WebSocket of a session. WebSocket, protocols: what connects; url: that of the first connection, again: those of others. */
class ResumedWebSocket extends EventTarget {
  readyState = 0;
  protocol = "";
  #o;
  #ws = null; // the present connection, also while it is made
  #plain = false; // the server has no streams: this is #ws and nothing else
  #token = new Uint8Array(wire.tokenSize); // zero until the stream has begun
  #preamble = []; // pieces of the server's
  #attached = false; // #ws carries the stream

  #queue = []; // frames that are not in #sent, for want of room
  #queued = 0; // bytes of them
  #scheduled = false;
  #sent = []; // {at, bytes}: records that the server has not acknowledged, by position
  #acked = 0; // positions in what this side sends
  #end = 0;
  #wire = 0; // that #ws has got
  #wroteAt = 0;

  #records;
  #frames;
  #received = 0; // positions in what the server sends
  #ackSent = 0;
  #delivering = false; // frames have come that were not delivered
  #tasks = null; // a MessageChannel whose messages deliver them
  #last; // the close frame, until it is delivered
  #byeCame = false;
  #heardAt = 0;

  #closing = null; // {code, reason, at}: this side has closed
  #finished = false; // its last records are in #sent
  #over = false;
  #attempts = 0; // failed ones in a row
  #lostTimer; // runs while there is no connection
  #redialTimer;
  #attemptTimer;
  #tickTimer;
  #lingerTimer;
  #online = () => this.#redialTimer !== undefined && this.#dial();

  constructor(o) {
    super();
    this.#o = o;
    this.#records = new wire.RecordReader({
      data: (piece) => this.#frames.push(piece),
      ack: (position) => this.#learn(position),
      end: () => {},
      bye: () => (this.#byeCame = true),
    });
    this.#frames = new wire.FrameReader(o.maxMessage);
    this.#open(o.url); // an error is for the caller
  }

  /** The bytes that no connection has got. */
  get bufferedAmount() {
    return this.#queued + this.#end - this.#wire + (this.#ws?.bufferedAmount ?? 0);
  }

  send(data) {
    if (this.#plain) return this.#ws.send(data);
    if (this.readyState === 0) throw new DOMException("still connecting", "InvalidStateError");
    if (this.readyState === 1) this.#put(typeof data === "string" ? wire.frame(wire.TEXT, data) : wire.frame(wire.BINARY, bytesOf(data)));
  }

  close(code = 1000, reason = "") {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException(`the code ${code} is not 1000 or 3000 to 4999`, "InvalidAccessError");
    if (this.#plain) return this.#ws.close(code, reason);
    if (this.readyState === 0) {
      this.#ws?.close(1000); // it has not begun
      return this.#finish({ code: 1006, reason: "", wasClean: false });
    }
    if (this.readyState !== 1) return;
    this.readyState = 2;
    this.#closing = { code, reason };
    this.#put(wire.closeFrame(code, reason));
    this.#linger();
  }

  // linger ends the stream after the grace, unless the server has received more meanwhile; past
  // last in any case.
  #linger(last = performance.now() + this.#o.window) {
    const acked = this.#acked;
    this.#lingerTimer = setTimeout(() => {
      if (this.#acked === acked || performance.now() >= last) this.#finish({ ...this.#closing, wasClean: false });
      else this.#linger(last);
    }, grace);
  }

  // open makes a connection.
  #open(url) {
    const { WebSocket, protocols } = this.#o;
    const names = this.#isNew() ? [...protocols.map((name) => prefix + name), ...protocols] : [prefix + this.protocol];
    const ws = (this.#ws = new WebSocket(url, names));
    ws.binaryType = "arraybuffer";
    const on = (type, fn) => ws.addEventListener(type, (event) => this.#ws === ws && !this.#over && fn(event));
    on("open", () => this.#opened(ws));
    on("message", ({ data }) => this.#receive(data));
    on("close", ({ code, reason, wasClean }) => this.#lost({ code: code || 1006, reason, wasClean }));
    ws.addEventListener("error", () => {}); // the close follows
  }

  #isNew() {
    return this.#token.every((b) => b === 0);
  }

  #opened(ws) {
    if (ws.protocol.startsWith(prefix)) {
      this.#preamble = [];
      ws.send(wire.writePreamble({ token: this.#token, sent: this.#end, received: this.#received }));
      return;
    }
    if (!this.#isNew()) return this.#finish(broken("the server has no sessions that outlive connections any more"));
    this.#plain = true;
    this.protocol = ws.protocol;
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  #receive(data) {
    if (this.#plain) return this.dispatchEvent(Object.assign(new Event("message"), { data }));
    this.#heardAt = performance.now();
    try {
      if (typeof data === "string") throw new Error("a text message has come, in place of bytes of the session");
      const bytes = this.#attached ? new Uint8Array(data) : this.#attach(new Uint8Array(data));
      if (bytes.length > 0) this.#attempts = 0; // this connection was of use
      this.#received += bytes.length;
      this.#records.feed(bytes);
    } catch (err) {
      return this.#fail(err);
    }
    if (!this.#delivering) this.#next();
    if (!this.#over && performance.now() - this.#wroteAt >= this.#o.keepAlive) this.#flush(true); // timers of tabs in the background are late
  }

  // next delivers a frame. The one behind it is for a task of its own, as with a WebSocket:
  // what was waiting for the first one goes on before. So is the close frame in any case: Node
  // and Deno may deliver it and the message before it, which have come in two messages, in one.
  #next(ownTask = false) {
    if (this.#over) return;
    let frame;
    try {
      frame = this.#last ?? this.#frames.next();
      if (frame?.op === wire.CLOSE && !ownTask) this.#last = frame;
      else if (frame) this.#deliver(frame);
    } catch (err) {
      return this.#fail(err);
    }
    if (this.#over) return;
    this.#delivering = frame !== undefined && (frame === this.#last || this.#frames.size > 0);
    if (this.#ackable - this.#ackSent >= ackEvery) this.#flush(true);
    if (this.#delivering) {
      this.#tasks ??= new MessageChannel();
      this.#tasks.port1.onmessage ??= () => this.#next(true);
      this.#tasks.port2.postMessage(null);
    } else if (this.#byeCame) {
      this.#leave(this.#closing ? { ...this.#closing, wasClean: true } : broken("the server has closed the session"));
    }
  }

  // What the server may forget: what was delivered, and the beginning of a large message.
  get #ackable() {
    return Math.max(this.#ackSent, this.#received - (this.#delivering ? this.#frames.size : 0));
  }

  // attach reads the server's preamble, and returns what is behind it.
  #attach(bytes) {
    const all = wire.concat([...this.#preamble, bytes]);
    if (all.length < wire.preambleSize) {
      this.#preamble = [all];
      return new Uint8Array(0);
    }
    const { token, received, refused } = wire.readPreamble(all);
    const isNew = this.#isNew();
    if (refused || (!isNew && token.some((b, i) => b !== this.#token[i]))) throw new Error(refused ?? "the server has another session");
    const more = wire.distance(this.#acked, received);
    if (more > this.#end - this.#acked) throw new Error("the server has received what was not sent");
    this.#token = token;
    this.#attached = true;
    clearTimeout(this.#lostTimer);
    clearTimeout(this.#attemptTimer);
    this.#drop(more);
    for (const { bytes } of this.#sent) this.#write(bytes);
    this.#wire = this.#end;
    if (isNew) {
      this.protocol = this.#ws.protocol.slice(prefix.length);
      this.readyState = 1;
      globalThis.addEventListener?.("online", this.#online);
      this.#tickTimer = setInterval(() => this.#tick(), this.#o.keepAlive);
      this.dispatchEvent(new Event("open"));
    } else {
      this.dispatchEvent(new Event("resumed"));
    }
    this.#flush(isNew); // the server sees that its preamble has come
    return all.subarray(wire.preambleSize);
  }

  #deliver({ op, payload }) {
    switch (op) {
      case wire.TEXT:
      case wire.BINARY:
        return this.dispatchEvent(Object.assign(new Event("message"), { data: op === wire.TEXT ? wire.readText(payload) : payload.buffer }));
      case wire.CLOSE: {
        const { code, reason } = wire.readClose(payload);
        return this.#leave({ code, reason, wasClean: true });
      }
    }
  }

  // fail ends the stream for what the server has sent. Of a refusal nothing is left to be said.
  #fail(err) {
    if (!this.#attached) return this.#finish(broken(err.message));
    this.#put(wire.closeFrame(err.close ?? 1002, ""));
    this.#leave({ ...broken(err.message), code: err.close === 1009 ? 4009 : 1006 });
  }

  // leave ends the stream, and says so.
  #leave(close) {
    this.#closing ??= close;
    this.#flush(true);
    this.#finish(close);
  }

  #put(bytes) {
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#flush(false)); // with all that is sent meanwhile
  }

  // flush makes records of what waits, as far as there is room, and of what was received.
  #flush(ack) {
    this.#scheduled = false;
    if (this.#over) return;
    let parts = [];
    let size = 0;
    const add = (...bytes) => {
      for (const b of bytes) size += b.length;
      parts.push(...bytes);
    };
    const room = () => this.#o.buffer - (this.#end - this.#acked) - size - wire.headSize;
    const ackable = this.#ackable;
    if ((ack || this.#ackSent !== ackable) && room() + slack > wire.ackSize + 2 * wire.headSize) {
      add(wire.ackRecord(ackable));
      this.#ackSent = ackable;
    }
    while (this.#queue.length > 0 && room() > 0) {
      const bytes = this.#queue[0];
      const n = Math.min(bytes.length, room(), wire.maxRecord);
      add(wire.head(n), bytes.subarray(0, n));
      this.#queued -= n;
      if (n === bytes.length) this.#queue.shift();
      else this.#queue[0] = bytes.subarray(n);
      if (size >= batch) {
        this.#append(parts);
        parts = [];
        size = 0;
      }
    }
    if (this.#closing && this.#queue.length === 0 && !this.#finished) {
      this.#finished = true;
      add(wire.endRecord, wire.byeRecord);
    }
    if (size > 0) this.#append(parts);
  }

  #append(parts) {
    const bytes = wire.concat(parts);
    this.#sent.push({ at: this.#end, bytes });
    this.#end += bytes.length;
    if (!this.#attached) return;
    this.#write(bytes);
    this.#wire = this.#end;
  }

  #write(bytes) {
    this.#wroteAt = performance.now();
    if (this.#ws.readyState === 1) this.#ws.send(bytes); // else it has ended, and the close follows
  }

  // learn notes that the server has received all up to a position.
  #learn(position) {
    const more = wire.distance(this.#acked, position);
    if (more > 2 ** 47) return; // an old one, sent again
    if (more > this.#end - this.#acked) throw new Error("the server acknowledges what was not sent");
    this.#drop(more);
    if (this.#finished && this.#acked === this.#end) return this.#finish({ ...this.#closing, wasClean: true });
    if (this.#queue.length > 0) this.#flush(false);
  }

  // drop forgets as many bytes more of what was sent.
  #drop(more) {
    this.#acked += more;
    this.#wire = Math.max(this.#wire, this.#acked);
    const keep = this.#sent.findIndex(({ at, bytes }) => at + bytes.length > this.#acked);
    this.#sent.splice(0, keep < 0 ? this.#sent.length : keep);
    const first = this.#sent[0];
    if (first && first.at < this.#acked) this.#sent[0] = { at: this.#acked, bytes: first.bytes.subarray(this.#acked - first.at) };
  }

  // lost handles the end of a connection.
  #lost(close) {
    clearTimeout(this.#redialTimer);
    clearTimeout(this.#attemptTimer);
    if (this.#last) return; // it ends the session
    if (this.#plain || this.#isNew()) return this.#finish(close); // there is nothing to go on with
    if (this.#closing && this.#finished && this.#acked === this.#end) return this.#finish({ ...this.#closing, wasClean: true });
    this.#ws = null;
    if (this.#attached) {
      this.#attached = false;
      this.#wire = this.#acked;
      this.#lostTimer = setTimeout(() => this.#finish(broken(`no connection for ${this.#o.window} ms: ${close.code} ${close.reason}`)), this.#o.window);
      this.dispatchEvent(new Event("lost"));
    }
    if (this.#attempts++ === 0) return this.#dial();
    const delay = Math.random() * Math.min(pauses.max, pauses.min * 2 ** this.#attempts);
    this.#redialTimer = setTimeout(() => this.#dial(), delay);
  }

  // abandon gives up a connection that does not answer.
  #abandon(reason) {
    const ws = this.#ws;
    this.#lost(broken(reason));
    ws?.close(4008, "timeout");
  }

  async #dial() {
    clearTimeout(this.#redialTimer);
    this.#redialTimer = undefined;
    this.#attemptTimer = setTimeout(() => !this.#attached && this.#abandon(`no connection within ${connectTimeout} ms`), connectTimeout);
    const wanted = () => !this.#over && this.#ws === null; // else it has taken too long, and another attempt goes on
    try {
      const url = await this.#o.again();
      if (wanted()) this.#open(url);
    } catch (err) {
      if (wanted()) this.#lost(broken(err.message));
    }
  }

  // tick says that this side is alive, and notices a connection that is not.
  #tick() {
    const now = performance.now();
    if (!this.#attached) return;
    if (now - this.#heardAt >= this.#o.idleTimeout) return this.#abandon(`nothing has come for ${this.#o.idleTimeout} ms`);
    if (now - this.#wroteAt >= this.#o.keepAlive / 2) this.#flush(true);
  }

  // finish ends the stream for good.
  #finish(close) {
    if (this.#over) return;
    this.#over = true;
    this.readyState = 3;
    for (const timer of [this.#lostTimer, this.#redialTimer, this.#attemptTimer, this.#tickTimer, this.#lingerTimer]) clearTimeout(timer);
    globalThis.removeEventListener?.("online", this.#online);
    this.#tasks?.port1.close();
    if (this.#ws?.readyState < 2) this.#ws.close(1000); // behind what was sent
    this.#queue = [];
    this.#sent = [];
    this.dispatchEvent(Object.assign(new Event("close"), close));
  }
}

/** The close of a connection that ended without a code. */
function broken(reason) {
  return { code: 1006, reason, wasClean: false };
}
