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
  /** How many calls and pushes may wait for being sent or for a reply. Default: 10,000. */
  maxCalls?: number;
  /** The largest message in bytes, either way. Default: 64 MiB. */
  maxMessage?: number;
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
  /** The next attempt will be made after a pause of delay, in ms. */
  reconnect: Event & { attempt: number; delay: number };
}

export interface CallOptions {
  /** Ends the call when it is aborted; the server is not notified. */
  signal?: AbortSignal;
  /** In ms, Infinity for none; a call carries it to the server. Default: that of the session. */
  timeout?: number;
  meta?: ConstructorParameters<typeof URLSearchParams>[0];
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
  /** Is aborted when the caller's deadline has passed, or the connection has ended. */
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
  /** CALL 1, REPLY 2, PUSH 3, AUTH_CALL 4, AUTH_REPLY 5, CONTROL 6. */
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
}

/** teleport.json: text frames. */
export const json: Protocol;

/** What a session needs of a WebSocket. */
export interface WebSocketClass {
  new (url: string, protocols: string[]): {
    binaryType: any;
    readonly bufferedAmount: number;
    readonly protocol: string;
    readonly readyState: number;
    addEventListener(type: any, listener: (event: any) => void): void;
    send(data: any): void;
    close(code?: number, reason?: string): void;
  };
}
