/**
 * A peer of Teleport over WebSocket: it calls, pushes, and serves what the server calls and
 * pushes.
 */

/**
 * Opens a session. It connects in the background, again and again if the connection ends;
 * calls may be made at once.
 *
 * @param url of ws:, wss:, http: or https:, in a page relative to it; or a function that
 *   returns one for each connection, for example with a fresh token.
 * @throws TypeError for a bad URL or option.
 */
export function connect(url: string | URL | (() => string | URL | Promise<string | URL>), options?: Options): Session;

export interface Options {
  /** The sub-protocols offered, best first. Default: [json]; raw and pb have modules of their own. */
  protocols?: Protocol[];
  /** The class of WebSockets. Default: the global one; Node 20 has none, there pass that of npm's ws. */
  WebSocket?: WebSocketClass;
  /** Handlers by route, as handle registers them. */
  routes?: Record<string, Handler>;
  /** Handlers of streams by route, as handleStream registers them. */
  streams?: Record<string, StreamHandler>;
  /**
   * Runs on each new connection before anything that waits is sent, for example to log in or
   * to enter a room again. The session is open once it is done. If it fails, the connection
   * is closed and made again, but after a TeleportError 401, 403 or 409, which ends the
   * session. It has connectTimeout together with connecting.
   */
  setup?: (first: First) => void | Promise<void>;
  /** How long a call waits for its reply, and a push to be sent, in ms. Default: 30,000. */
  timeout?: number;
  /** How long a call or a push waits to be sent, as while there is no connection, in ms. Default: 10,000. */
  waitTimeout?: number;
  /** How long a connection may take, setup included, in ms. Default: 30,000. */
  connectTimeout?: number;
  /**
   * How often the server is called at /heartbeat, in ms, to find out that a connection is
   * dead: browsers do not. Any answer will do. Default: 0, never.
   */
  heartbeat?: number;
  /** How to connect again; false: not at all. Default: true, which is {}. */
  reconnect?: boolean | Reconnect;
  /** Makes the session outlive its connections: what resume of resume.js returns. Default: each connection ends what is under way. */
  resume?: Resume;
  /** How many calls and pushes may wait for being sent or for a reply. Default: 10,000. */
  maxCalls?: number;
  /** The largest message in bytes, either way. Default: 64 MiB. */
  maxMessage?: number;
  /**
   * How many bytes of a stream the server may send that the page has not received yet: 1 to
   * 16 MiB, the most for all streams of a connection together. Default: 256 KiB.
   */
  streamWindow?: number;
  /** Gets a line about each message that was dropped, and each handler that failed. Default: console.warn. */
  warn?: (text: string) => void;
}

/**
 * The pause before the n-th attempt in a row is random: between 0 and min·2ⁿ⁻¹, and at most
 * max. After a connection of 5 s the count begins anew.
 */
export interface Reconnect {
  /** In ms. Default: 500. */
  min?: number;
  /** In ms. Default: 30,000. */
  max?: number;
  /** How many attempts in a row may fail. Default: Infinity. */
  attempts?: number;
  /**
   * Whether to connect again after a close. Default: after all but 1000 (the server has ended
   * the session), 1002, 1003, 1007, and 1008 (refused) without an error. Errors 401, 403 and 409
   * end the session in any case.
   */
  when?: (close: Close) => boolean;
}

/** How a connection, or a session, has ended. */
export interface Close {
  /** The code of RFC 6455, 7.4; 1006 if there was none: the network broke, or the handshake failed. */
  code: number;
  reason: string;
  /** Whether both sides have closed. */
  wasClean: boolean;
  /** The server's words, or the error of setup, if there is one. */
  error?: Error;
}

/** One side of a connection that is made again when it ends. */
export interface Session extends EventTarget {
  /** "waiting" is the pause before the next attempt to connect. */
  readonly state: "connecting" | "open" | "waiting" | "closed";
  /** The name of the sub-protocol; "" if the session is not open. */
  readonly protocol: string;
  /** Is fulfilled when the session is open for the first time, and rejected if it never will be. */
  readonly ready: Promise<Session>;
  /** Is fulfilled when the session has ended for good. */
  readonly closed: Promise<Close>;

  /**
   * Calls the server, and returns the body of its reply. A call that is made while there is
   * no connection waits for one. Rejects with a TeleportError, or with the signal's reason.
   *
   * @param route may have a query: "/math/add?author=ann".
   * @param body anything that JSON can express; an ArrayBuffer or a view of one is sent as it is.
   */
  call<T = unknown>(route: string, body?: unknown, options?: CallOptions & { bytes?: false }): Promise<T>;
  /** With bytes, the body of the reply as it is on the wire, whatever its codec. */
  call(route: string, body: unknown, options: CallOptions & { bytes: true }): Promise<Uint8Array>;
  /** The same, for callers that want the metadata of the reply, too. */
  request<T = unknown>(route: string, body?: unknown, options?: CallOptions & { bytes?: false }): Promise<Reply<T>>;
  request(route: string, body: unknown, options: CallOptions & { bytes: true }): Promise<Reply<Uint8Array>>;
  /** Sends a message without a reply. The promise is fulfilled when the WebSocket has it. */
  push(route: string, body?: unknown, options?: CallOptions): Promise<void>;

  /**
   * Opens a stream to a route of the server's: a call that stays open, while both sides send
   * messages. It may be used at once; what is sent waits until the stream is open. It ends
   * when the server's handler returns, and at the latest with the signal, the timeout, if
   * there is one, or the connection; it is not opened again. Its error is 501 if the server
   * has no streams.
   */
  openStream<In = unknown, Out = unknown>(route: string, options?: StreamOptions & { bytes?: false }): Stream<In, Out>;
  openStream<Out = unknown>(route: string, options: StreamOptions & { bytes: true }): Stream<Uint8Array, Out>;

  /**
   * Serves a route: what the handler returns is the reply to a call, what it throws the
   * error: a TeleportError as it is, any other as 500. A session answers /heartbeat by itself.
   *
   * @param options bytes: the handler gets the body as it is on the wire, whatever its codec.
   * @returns a function that removes the handler.
   * @throws TypeError if the route has a handler.
   */
  handle<B = any>(route: string, handler: Handler<B>, options?: { bytes?: false }): () => void;
  handle(route: string, handler: Handler<Uint8Array>, options: { bytes: true }): () => void;

  /**
   * Serves a route with streams, which the server opens. A stream is open until the handler
   * returns; what it throws is the error of the stream, as with handle.
   *
   * @param options bytes: the body of the call and the messages are as on the wire.
   * @returns a function that removes the handler.
   * @throws TypeError if the route has a handler.
   */
  handleStream<In = any, Out = unknown>(route: string, handler: StreamHandler<In, Out>, options?: { bytes?: false }): () => void;
  handleStream<Out = unknown>(route: string, handler: StreamHandler<Uint8Array, Out>, options: { bytes: true }): () => void;

  /**
   * Ends the session. What waits or is pending fails with 102.
   *
   * @param code 1000, the default, or 3000 to 4999.
   */
  close(code?: number, reason?: string): Promise<Close>;

  addEventListener<K extends keyof SessionEvents>(
    type: K,
    listener: (event: SessionEvents[K]) => void,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void;
  addEventListener(...args: Parameters<EventTarget["addEventListener"]>): void;
}

export interface SessionEvents {
  /** A connection is open and set up. */
  open: Event & { reconnected: boolean; protocol: string };
  /** A connection has ended; final: and the session with it. */
  close: Event & Close & { final: boolean };
  /** With the option resume: there is no connection at the moment. The session is as it was; what is sent waits. */
  lost: Event;
  /** With the option resume: there is a connection again, and the session goes on. */
  resumed: Event;
  /** The next attempt will be made after a pause of delay, in ms. */
  reconnect: Event & { attempt: number; delay: number };
}

export interface CallOptions {
  /** Ends the call when it is aborted; the context of the server's handler ends too. */
  signal?: AbortSignal;
  /** In ms, Infinity for none; a call carries it to the server. Default: that of the session. */
  timeout?: number;
  meta?: ConstructorParameters<typeof URLSearchParams>[0];
}

export interface StreamOptions extends CallOptions {
  /** What the handler gets in the call that opens the stream. */
  body?: unknown;
  /** As streamWindow of the session, for this stream. */
  window?: number;
  /** Receive messages as they are on the wire, whatever their codec. */
  bytes?: boolean;
  /** In ms; it travels to the server. Default: Infinity. */
  timeout?: number;
}

/**
 * One side's end of a stream, and an iterator over the messages that it receives:
 *
 *     for await (const message of stream) …
 *
 * Use it up, or close it.
 */
export interface Stream<In = unknown, Out = unknown> extends AsyncIterableIterator<In, undefined> {
  /**
   * Sends a message. The promise is fulfilled when the WebSocket has it, which is when the
   * other side has room for it: memory is bounded if it is awaited before the next send.
   * Messages are sent in the order of the calls. Rejects with 104 for a message that cannot
   * be encoded or is too large, which is its error alone, and with the error of the stream if
   * that has ended.
   */
  send(message: Out): Promise<void>;
  /** This side sends no more: the other side's loop ends. The promise is never rejected. */
  closeSend(): Promise<void>;
  /**
   * Ends the stream on this side at once: what has come is dropped, and the signal or context
   * of the other side's handler ends. On the side of a handler the end is when it returns.
   */
  close(): void;
  /**
   * The next message; done is true behind the last one. Rejects with the error of the
   * handler, 102 if the connection has ended, 499 or the signal's reason; first come the
   * messages that were there before. With 400 for a message that cannot be read, which ends the
   * stream.
   */
  next(): Promise<IteratorResult<In, undefined>>;
  /** What leaving a loop early does: close, if this side has opened the stream. */
  return(): Promise<IteratorResult<In, undefined>>;
  [Symbol.asyncIterator](): this;
  /** Is fulfilled with the metadata of the reply when the handler has returned, and rejected with the error of the stream. */
  readonly closed: Promise<URLSearchParams | undefined>;
  /** How many messages the program on the other side has certainly received; it grows by half windows. */
  readonly acked: number;
}

export interface Reply<T = unknown> {
  body: T;
  meta: URLSearchParams;
}

/** The session as it is during setup. */
export interface First extends Pick<Session, "call" | "request" | "push"> {
  /** Sends credentials to a server with plugins/auth, as the first message; returns its answer. */
  auth<T = unknown>(info: unknown, options?: CallOptions): Promise<T>;
}

export type Handler<B = any> = (body: B, context: Context) => unknown;

export type StreamHandler<In = any, Out = any> = (context: StreamContext, stream: Stream<In, Out>) => unknown;

export interface StreamContext extends Context {
  /** That of the call that has opened the stream. */
  readonly body: any;
}

export interface Context {
  readonly session: Session;
  /** Without its query. */
  readonly route: string;
  readonly query: URLSearchParams;
  readonly meta: URLSearchParams;
  /** Whether the server waits for the result. */
  readonly isCall: boolean;
  /** The metadata of the reply, for the handler to fill. */
  readonly replyMeta: URLSearchParams;
  /** Is aborted when the caller has given up, its deadline has passed, or the connection has ended. */
  readonly signal: AbortSignal;
}

/** An error with what travels. Codes below 1000 are Teleport's own, see doc/errors.md. */
export class TeleportError extends Error {
  constructor(code: number, message?: string, reason?: string, notRun?: boolean);
  readonly code: number;
  readonly reason: string;
  /** Whether the call has certainly not run, so that it may be made again. */
  readonly notRun: boolean;
}

/** A sub-protocol: how messages are written and read. */
export interface Protocol {
  readonly name: string;
  encode(message: Message): string | Uint8Array;
  /** Throws if the data are no message. */
  decode(data: string | ArrayBuffer): Message;
}

export interface Message {
  /** CALL 1, REPLY 2, PUSH 3, AUTH_CALL 4, AUTH_REPLY 5, CONTROL 6, DATA 7. */
  type: number;
  seq: number;
  route: string;
  meta: URLSearchParams;
  /** The id of the body's codec, of a message that was read. */
  codec?: number;
  /** Of a message that is written. */
  body?: unknown;
  /** That of a reply. */
  error?: TeleportError;
  /** Reads the body of a message that was read, and throws if it is none. */
  read?: (asBytes: boolean) => unknown;
  /**
   * The bytes of the encoded body, as both sides count them: set by encode for a message of
   * the type DATA, a function of one that was read. Without it a protocol has no streams.
   */
  size?: number | (() => number);
}

/** teleport.json: text frames. */
export const json: Protocol;

/** What a session needs of a WebSocket. */
export interface WebSocketClass {
  new (url: string, protocols: string[]): WebSocketLike;
}

export interface WebSocketLike {
  binaryType: any;
  readonly bufferedAmount: number;
  readonly protocol: string;
  readonly readyState: number;
  addEventListener(type: any, listener: (event: any) => void): void;
  send(data: any): void;
  close(code?: number, reason?: string): void;
}

/** Makes what a session takes for its WebSocket. */
export type Resume = (args: {
  WebSocket: WebSocketClass;
  protocols: string[];
  url: string;
  /** Returns the URL of another connection. */
  again: () => Promise<string>;
  maxMessage: number;
}) => WebSocketLike;
