// A peer of Teleport over WebSocket: it calls, pushes, and serves what the server calls
// and pushes. It runs in browsers, Node, Deno and Bun, and depends on nothing.
//
//     import { connect } from "./teleport.js";
//     const session = connect("wss://example.org/ws");
//     const sum = await session.call("/math/add", [1, 2, 3]);
//
// Types and doc comments of everything exported are in teleport.d.ts.

import { Connection, sizeOf } from "./connection.js";
import { json } from "./json.js";
import { CALL, REPLY, PUSH, AUTH_CALL, AUTH_REPLY, CONTROL, DATA, TeleportError, nextSeq } from "./message.js";
import { absolute, defaults, duration, maxTimer, reconnectDefaults, windowSize, withDefaults } from "./options.js";
import { Routes } from "./routes.js";
import { Stream, StreamEnd } from "./stream.js";

export { TeleportError, json };

const highWater = 4 << 20; // bytes in the WebSocket's buffer above which messages wait here
const steady = 5_000; // a connection that lasted this long, in ms, ends the back-off

/** Opens a session. It connects in the background: calls may be made at once. */
export function connect(url, options = {}) {
  return new Session(url, options);
}

/** An event of a session: its fields are those of teleport.d.ts. */
class SessionEvent extends Event {
  constructor(type, fields) {
    super(type);
    Object.assign(this, fields);
  }
}

class Session extends EventTarget {
  #url;
  #options;
  #reconnect; // null: never
  #routes;
  #state = "connecting"; // then "open", "waiting" (for the next attempt), "closed"
  #connection = null; // the present one, also while it is made
  #waiting = new Set(); // jobs that are not sent, in their order
  #pending = new Map(); // sent calls by their number
  #seq = 0;
  #attempts = 0; // failed ones in a row
  #redialTimer;
  #flushTimer;
  #ready = settled();
  #closed = settled();
  #online = () => this.#state === "waiting" && this.#dial();

  constructor(url, options) {
    super();
    this.#options = withDefaults("connect", defaults, options);
    this.#options.WebSocket ??= globalThis.WebSocket;
    if (typeof this.#options.WebSocket !== "function") {
      throw new TypeError("connect: there is no WebSocket here: pass a class as option WebSocket (in Node 20: npm ws)");
    }
    for (const name of ["timeout", "waitTimeout", "connectTimeout"]) duration(name, this.#options[name]);
    const { reconnect } = this.#options;
    this.#reconnect =
      reconnect === false ? null : withDefaults("connect: reconnect", reconnectDefaults, reconnect === true ? {} : reconnect);
    this.#url = typeof url === "function" ? url : () => url;
    if (typeof url !== "function") absolute(url); // a bad URL throws here
    windowSize("streamWindow", this.#options.streamWindow);
    this.#routes = new Routes(this, this.#options);
    for (const [route, handler] of Object.entries(this.#options.routes)) this.handle(route, handler);
    for (const [route, handler] of Object.entries(this.#options.streams)) this.handleStream(route, handler);
    globalThis.addEventListener?.("online", this.#online);
    this.#dial();
  }

  get state() {
    return this.#state;
  }

  get protocol() {
    return this.#state === "open" ? this.#connection.protocol.name : "";
  }

  get ready() {
    return this.#ready.promise;
  }

  get closed() {
    return this.#closed.promise;
  }

  async call(route, body, options) {
    return (await this.#submit(CALL, route, body, options)).body;
  }

  request(route, body, options) {
    return this.#submit(CALL, route, body, options);
  }

  async push(route, body, options) {
    await this.#submit(PUSH, route, body, options);
  }

  openStream(route, options = {}) {
    const own = { body: undefined, window: this.#options.streamWindow };
    const { body, window, ...rest } = withDefaults("openStream", { ...this.#jobDefaults(), timeout: Infinity, ...own }, options);
    windowSize("window", window);
    const end = new StreamEnd({ bytes: rest.bytes, isOpener: true });
    this.#submit(CALL, route, body, rest, { stream: { end, window } }).catch((err) => end.finish(err, undefined, true));
    return new Stream(end);
  }

  handle(route, handler, options = {}) {
    return this.#routes.add("handle", route, handler, options, false);
  }

  handleStream(route, handler, options = {}) {
    const remove = this.#routes.add("handleStream", route, handler, options, true);
    if (this.#state === "open") this.#connection.sayHello();
    return remove;
  }

  close(code = 1000, reason = "") {
    if (this.#state !== "closed") {
      const connection = this.#connection;
      connection?.end(code, reason);
      this.#finish({ code, reason, wasClean: true }, "this side closed the session");
    }
    return this.#closed.promise;
  }

  // submit makes a job of a call or a push; stream: the call opens it. On a connection that
  // is being set up, the jobs of the setup go out before all that wait.
  #submit(type, route, body, options = {}, { setup, stream } = {}) {
    const { timeout, meta, signal, bytes } = withDefaults(type === CALL ? "call" : "push", this.#jobDefaults(), options);
    duration("timeout", timeout);
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#state === "closed") throw this.#closed.error;
      if (this.#waiting.size + this.#pending.size >= this.#options.maxCalls) {
        throw new TeleportError(104, undefined, `${this.#options.maxCalls} calls are pending`, true);
      }
      const job = { type, route, body, meta: new URLSearchParams(meta), bytes, resolve, reject, signal, stream, seq: 0, timers: [] };
      job.deadline = performance.now() + timeout;
      this.#after(job, timeout, () => new TeleportError(408, undefined, `no reply within ${timeout} ms`, job.seq === 0));
      if (signal) {
        job.onAbort = () => this.#abandon(job, signal.reason);
        signal.addEventListener("abort", job.onAbort);
      }
      if (stream) stream.end.abandon = (error, own) => (own ? this.#abandon(job, error) : this.#reject(job, error, true));
      if (setup) return this.#transmit(setup, job);
      this.#waiting.add(job);
      this.#flush();
      if (this.#waiting.has(job)) {
        const { waitTimeout } = this.#options;
        job.unsent = this.#after(job, waitTimeout, () => this.#unsent(job, waitTimeout));
      }
    });
  }

  #jobDefaults() {
    return { timeout: this.#options.timeout, meta: undefined, signal: undefined, bytes: false };
  }

  #unsent({ stream }, ms) {
    if (stream && this.#state === "open") return noStreams(`it has not answered hello within ${ms} ms`);
    return new TeleportError(102, undefined, `not sent within ${ms} ms: the session is ${this.#state}`, true);
  }

  #after(job, ms, error) {
    if (ms > maxTimer) return;
    job.timers.push(setTimeout(() => this.#reject(job, error()), ms));
    return job.timers.at(-1);
  }

  #end(job) {
    for (const timer of job.timers) clearTimeout(timer);
    job.signal?.removeEventListener("abort", job.onAbort);
    this.#waiting.delete(job);
    if (this.#pending.get(job.seq) === job) this.#pending.delete(job.seq);
  }

  // reject ends a job with an error; drop: what has come over its stream is not received any more.
  #reject(job, error, drop = false) {
    this.#end(job);
    job.stream?.end.finish(error, undefined, drop);
    job.reject(error);
  }

  // abandon is reject for a caller that has given up, which the server gets to know.
  #abandon(job, error) {
    const sent = this.#pending.get(job.seq) === job;
    this.#reject(job, error, true);
    if (sent && job.type === CALL) this.#connection.cancel(job.seq);
  }

  // flush sends what waits, as far as the WebSocket's buffer is not full. It has no event
  // for being empty.
  #flush() {
    clearTimeout(this.#flushTimer);
    if (this.#state !== "open") return;
    for (const job of this.#waiting) {
      if (this.#connection.ws.bufferedAmount > highWater) {
        this.#flushTimer = setTimeout(() => this.#flush(), 10);
        return;
      }
      const { peer } = this.#connection;
      if (job.stream && !peer.known) {
        this.#connection.sayHello(); // it waits for the answer
        continue;
      }
      this.#waiting.delete(job);
      if (job.stream && peer.window === 0) this.#reject(job, noStreams("its hello does not name them"));
      else this.#transmit(this.#connection, job);
    }
  }

  #transmit(connection, job) {
    const { type, route, body, meta } = job;
    clearTimeout(job.unsent);
    if (connection.signal.aborted) return this.#reject(job, new TeleportError(102, undefined, "the connection has ended", true));
    const left = job.deadline - performance.now();
    if (type === CALL && left < maxTimer) meta.set("X-Timeout", Math.max(1, Math.floor(left)));
    job.seq = this.#seq = nextSeq(this.#seq, this.#pending);
    const window = job.stream && connection.windowFor(job.stream.window);
    if (window) meta.set("X-Stream", window);
    try {
      if (type === CALL && job.signal) {
        if (this.#state === "open") connection.sayHello(); // the call may be aborted
        else connection.helloDue = true;
      }
      connection.send({ type, seq: job.seq, route, meta, body });
    } catch (err) {
      this.#reject(job, new TeleportError(104, undefined, `${route}: ${err.message}`, true));
      return;
    }
    if (type === PUSH) {
      this.#end(job);
      job.resolve({});
    } else {
      this.#pending.set(job.seq, job);
      job.stream?.end.open(connection, job.seq, connection.peer.window, window);
    }
  }

  // dial makes a connection. Its events count as long as it is the present one.
  async #dial() {
    clearTimeout(this.#redialTimer);
    this.#state = "connecting";
    const connection = (this.#connection = new Connection(this.#options));
    const present = () => this.#connection === connection;
    const lost = (close) => present() && this.#lost(connection, close);
    const timer = setTimeout(() => {
      connection.end(4008, "timeout");
      lost(broken(`no connection within ${this.#options.connectTimeout} ms`));
    }, Math.min(this.#options.connectTimeout, maxTimer));
    connection.signal.addEventListener("abort", () => clearTimeout(timer));
    const next = async () => absolute(await this.#url());
    let url;
    try {
      url = await next();
    } catch (err) {
      return lost(broken(`the function for the URL failed: ${err.message}`));
    }
    if (!present()) return;
    try {
      connection.dial(url, next, {
        open: () => present() && this.#opened(connection).then(() => clearTimeout(timer)),
        change: (type) => present() && this.dispatchEvent(new SessionEvent(type)),
        message: (data) => present() && this.#receive(connection, data),
        close: lost,
      });
    } catch (err) {
      // The page may not connect at all: a bad URL, or ws: from a page of https:.
      if (present()) this.#finish(broken(err.message), err.message);
    }
  }

  async #opened(connection) {
    if (!connection.protocol) {
      connection.end(1000, "");
      const names = this.#options.protocols.map((p) => p.name).join(", ");
      return this.#finish(broken("no sub-protocol"), `the server speaks none of ${names}`);
    }
    try {
      await this.#options.setup?.(this.#first(connection));
    } catch (err) {
      if (this.#connection !== connection) return;
      if (!(err instanceof TeleportError)) this.#options.warn(`teleport: setup: ${err?.stack ?? err}`);
      connection.end(4000, "setup failed");
      return this.#lost(connection, { ...broken(`setup failed: ${err?.message ?? err}`), error: err });
    }
    if (this.#connection !== connection) return;
    this.#state = "open";
    if (this.#routes.hasStreams || connection.helloDue) connection.sayHello();
    const reconnected = this.#ready.done;
    this.#ready.resolve(this);
    if (this.#options.heartbeat > 0) this.#beat(connection);
    this.dispatchEvent(new SessionEvent("open", { reconnected, protocol: connection.protocol.name }));
    this.#flush();
  }

  // first is what a setup gets: its messages are sent before those that wait.
  #first(connection) {
    const submit = (type) => (route, body, options) => this.#submit(type, route, body, options, { setup: connection });
    const request = submit(CALL);
    return {
      request,
      call: async (...args) => (await request(...args)).body,
      push: async (...args) => void (await submit(PUSH)(...args)),
      auth: async (info, options) => (await submit(AUTH_CALL)("", info, options)).body,
    };
  }

  // lost handles the end of a connection: sent calls fail, and what waits goes on waiting if
  // there will be another connection.
  #lost(connection, close) {
    if (performance.now() - connection.openedAt > steady) this.#attempts = 0;
    connection.abort();
    close.error ??= connection.farewell ?? refusal(close);
    const stop = [401, 403, 409].includes(close.error?.code) || !this.#reconnect?.when(close);
    if (stop || this.#attempts >= this.#reconnect.attempts) return this.#finish(close, describe(close));
    this.#failPending(connection, describe(close));
    this.#connection = null;
    this.#state = "waiting";
    const { min, max } = this.#reconnect;
    const delay = Math.random() * Math.min(max, min * 2 ** this.#attempts++); // full jitter
    this.#redialTimer = setTimeout(() => this.#dial(), delay);
    this.dispatchEvent(new SessionEvent("close", { ...close, final: false }));
    this.dispatchEvent(new SessionEvent("reconnect", { attempt: this.#attempts, delay }));
  }

  // finish ends the session for good.
  #finish(close, reason) {
    const connection = this.#connection;
    const error = new TeleportError(102, undefined, reason, true);
    this.#state = "closed";
    this.#connection = null;
    clearTimeout(this.#redialTimer);
    clearTimeout(this.#flushTimer);
    globalThis.removeEventListener?.("online", this.#online);
    connection?.abort();
    this.#failPending(connection, reason);
    for (const job of this.#waiting) this.#reject(job, new TeleportError(102, undefined, reason, true));
    this.#closed.error = error;
    this.#ready.reject(close.error ?? new TeleportError(105, undefined, reason, true));
    this.dispatchEvent(new SessionEvent("close", { ...close, final: true }));
    this.#closed.resolve(close);
  }

  #failPending(connection, reason) {
    for (const [seq, job] of this.#pending) {
      this.#reject(job, new TeleportError(102, undefined, reason, connection?.notRun(seq) ?? false));
    }
  }

  // beat calls the server at each interval. Any answer is a sign of life, also a 404.
  #beat(connection) {
    const every = Math.min(this.#options.heartbeat, maxTimer);
    const timer = setInterval(() => {
      const began = performance.now();
      const meta = { hb_: Math.max(1, Math.round(every / 1000)) };
      this.#submit(CALL, "/heartbeat", undefined, { timeout: every, meta }, { setup: connection }).catch((err) => {
        if (err.code !== 408 || connection.receivedAt >= began || connection.isLost || this.#connection !== connection) return;
        connection.end(4008, "no sign of life");
        this.#lost(connection, broken(`no sign of life for ${every} ms`));
      });
    }, every);
    connection.signal.addEventListener("abort", () => clearInterval(timer));
  }

  #receive(connection, data) {
    connection.receivedAt = performance.now();
    const { maxMessage } = this.#options;
    const size = sizeOf(data, maxMessage);
    if (size > maxMessage) {
      const reason = `a message of ${size} bytes is over the limit of ${maxMessage}`;
      connection.end(4009, reason);
      return this.#lost(connection, { ...broken(reason), code: 4009 });
    }
    let message;
    try {
      message = connection.protocol.decode(data);
    } catch (err) {
      if (!err.fatal) return this.#options.warn(`teleport: a message was dropped: ${err.message}`);
      connection.end(4003, err.message);
      return this.#lost(connection, broken(err.message));
    }
    switch (message.type) {
      case REPLY:
      case AUTH_REPLY:
        return this.#settle(connection, message);
      case CALL:
      case PUSH:
        return this.#routes.serve(connection, message);
      case AUTH_CALL:
        return connection.send({ type: AUTH_REPLY, seq: message.seq, route: "", meta: new URLSearchParams(), error: new TeleportError(405) });
      case CONTROL:
        return this.#control(connection, message);
      case DATA:
        return connection.stream(message.seq)?.data(message); // without one, it has ended
      default:
        this.#options.warn(`teleport: a message of unknown type ${message.type} was dropped`);
    }
  }

  // control handles what the engines say to each other. Verbs that are unknown are for later ones.
  #control(connection, { route, seq, meta }) {
    switch (route) {
      case "bye":
        return connection.goodbye(meta);
      case "hello":
        connection.acceptHello(meta);
        return this.#flush();
      case "cancel":
        return connection.acceptCancel(seq);
      case "end":
      case "credit":
      case "reset":
        return connection.stream(seq)?.control(route, meta);
    }
  }

  #settle(connection, { seq, meta, error, read }) {
    const job = this.#pending.get(seq);
    if (!job) return connection.answered(seq); // its caller has given up
    if (error) return this.#reject(job, error);
    try {
      job.resolve({ body: job.stream ? undefined : read(job.bytes), meta });
      this.#end(job);
      job.stream?.end.replied(meta);
    } catch (err) {
      this.#reject(job, new TeleportError(400, undefined, `the reply: ${err.message}`));
    }
  }
}

function noStreams(why) {
  return new TeleportError(501, undefined, `the server has no streams: ${why}`, true);
}

/** The close of a connection that ended without a code. */
function broken(reason) {
  return { code: 1006, reason, wasClean: false };
}

// refusal is the error in the reason of a close by a server, as "403 Forbidden".
function refusal({ code, reason }) {
  const [, number, message] = (code === 1008 && reason.match(/^(-?\d+) ?(.*)$/s)) || [];
  return number && new TeleportError(Number(number), message);
}

function describe({ code, reason }) {
  return `the connection has ended: ${code}${reason && ` ${reason}`}`;
}

function settled() {
  const p = { done: false };
  p.promise = new Promise((resolve, reject) => {
    p.resolve = (v) => ((p.done = true), resolve(v));
    p.reject = reject;
  });
  p.promise.catch(() => {}); // not everybody waits for it
  return p;
}
