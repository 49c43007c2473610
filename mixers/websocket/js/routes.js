// What a session serves: handlers by route.

import { Context } from "./context.js";
import { CALL, REPLY, TeleportError } from "./message.js";
import { withDefaults } from "./options.js";
import { Stream, StreamEnd, firstWindow, readBytes } from "./stream.js";

export class Routes {
  #session;
  #options;
  #entries = new Map();
  #heartbeat = { handler: () => null, bytes: true, isStream: false };

  constructor(session, options) {
    this.#session = session;
    this.#options = options;
  }

  /** Whether there are handlers of streams, which the server must hear of. */
  get hasStreams() {
    return [...this.#entries.values()].some((entry) => entry.isStream);
  }

  /** Registers a handler, and returns what removes it. */
  add(what, route, handler, options, isStream) {
    if (typeof handler !== "function") throw new TypeError(`${what} ${route}: the handler is no function`);
    if (this.#entries.has(route)) throw new TypeError(`${what} ${route}: it has a handler already`);
    const entry = { handler, isStream, ...withDefaults(`${what} ${route}`, { bytes: false }, options) };
    this.#entries.set(route, entry);
    return () => this.#entries.get(route) === entry && this.#entries.delete(route);
  }

  #find(path, isStream) {
    const entry = this.#entries.get(path) ?? (path === "/heartbeat" ? this.#heartbeat : undefined);
    if (!entry) throw new TeleportError(404, undefined, path);
    if (entry.isStream && !isStream) throw new TeleportError(400, undefined, `${path} is the route of a stream: open one`);
    if (isStream && !entry.isStream) throw new TeleportError(400, undefined, `${path} is not the route of a stream: call it`);
    return entry;
  }

  async serve(connection, message) {
    const { type, seq, route, meta, read } = message;
    const reply = { type: REPLY, seq, route: "", meta: new URLSearchParams(), body: undefined, error: undefined };
    const [path, query = ""] = route.split(/\?(.*)/s);
    const isCall = type === CALL;
    const context = new Context(connection.signal, {
      session: this.#session, route: path, query: new URLSearchParams(query), meta, isCall, replyMeta: reply.meta,
    });
    if (isCall) connection.handlers.set(seq, context);
    let stream;
    try {
      const { handler, bytes, isStream } = this.#find(path, isCall && meta.has("X-Stream"));
      if (isStream) {
        stream = this.#accept(connection, context, message, bytes);
        context.body = argument(read, bytes);
        await handler(context, new Stream(stream));
      } else {
        reply.body = await handler(argument(read, bytes), context);
      }
    } catch (err) {
      reply.error = err instanceof TeleportError ? err : new TeleportError(500, undefined, String(err?.message ?? err));
      const expected = isCall && (reply.error === err || Context.gone(context));
      if (!expected) this.#options.warn(`teleport: ${path}: ${err?.stack ?? err}`);
    } finally {
      Context.end(context);
      if (connection.handlers.get(seq) === context) connection.handlers.delete(seq);
      stream?.finish(undefined, undefined, true);
      if (stream) reply.meta.set("X-Stream", stream.sent);
    }
    if (!isCall || Context.gone(context)) return;
    try {
      connection.send(reply);
    } catch (err) {
      reply.error = new TeleportError(500, undefined, `the reply cannot be sent: ${err.message}`);
      connection.send({ ...reply, meta: new URLSearchParams(), body: undefined });
    }
  }

  // accept makes this side's end of the stream that a CALL opens.
  #accept(connection, context, { seq, meta }, bytes) {
    const { streamWindow } = this.#options;
    const credit = readBytes(meta.get("X-Stream"));
    if (!connection.peer.window) throw new TeleportError(501, undefined, "a stream was opened without saying hello");
    if (Number.isNaN(credit) || seq <= 0) {
      throw new TeleportError(400, undefined, `X-Stream, the number of bytes that the opener of a stream has room for, is ${meta.get("X-Stream")}; want 1 to 2^31-1`);
    }
    if (connection.stream(seq)) throw new TeleportError(400, undefined, `a stream with the number ${seq} is open already`);
    const end = new StreamEnd({ bytes, isOpener: false });
    end.abandon = (error, own) => {
      end.finish(error, undefined, true);
      if (!own) Context.abort(context, error);
    };
    const { signal } = context;
    signal.addEventListener("abort", () => end.finish(signal.reason, undefined, true));
    const window = connection.windowFor(streamWindow);
    end.open(connection, -seq, credit, window, Math.min(window, streamWindow, firstWindow));
    return end;
  }
}

// argument reads the body of a call or a push.
function argument(read, bytes) {
  try {
    return read(bytes);
  } catch (err) {
    throw new TeleportError(400, undefined, err.message);
  }
}
