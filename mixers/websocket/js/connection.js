// A connection of a session: one WebSocket, and what is known of it.

import { TeleportError, maxSeq } from "./message.js";

export class Connection {
  ws = null;
  protocol = undefined; // the one that both ends have agreed on
  openedAt = Infinity;
  receivedAt = 0;
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

  /** Connects; throws if the environment forbids it. */
  dial(url, on) {
    const { protocols, WebSocket } = this.#options;
    const ws = (this.ws = new WebSocket(url, protocols.map((p) => p.name)));
    ws.binaryType = "arraybuffer";
    ws.addEventListener("open", () => {
      this.openedAt = performance.now();
      this.protocol = protocols.find((p) => p.name === ws.protocol);
      on.open();
    });
    ws.addEventListener("message", ({ data }) => on.message(data));
    ws.addEventListener("error", () => {}); // the close follows
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
