// Messages, errors and metadata, as all protocols have them. doc/wire.md of the
// repository describes them.

export const CALL = 1;
export const REPLY = 2;
export const PUSH = 3;
export const AUTH_CALL = 4;
export const AUTH_REPLY = 5;
export const CONTROL = 6;
export const DATA = 7;

export const maxSeq = 2 ** 31 - 1;

/** Reports whether a value is a sequence number: a 32-bit integer. */
export function isSeq(seq) {
  return Number.isInteger(seq) && seq >= -maxSeq - 1 && seq <= maxSeq;
}

/** Counts from 1 to 2^31-1 and round again, without the numbers that are taken. */
export function nextSeq(seq, taken) {
  do seq = (seq % maxSeq) + 1;
  while (taken.has(seq));
  return seq;
}

const texts = {
  1: "Invalid Operation",
  102: "Connection Closed",
  104: "Write Failed",
  105: "Dial Failed",
  400: "Bad Message",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Message Type Not Allowed",
  408: "Handle Timeout",
  409: "Conflict",
  429: "Too Many Requests",
  499: "Canceled",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Busy",
};

/** An error with the code, message and reason that travel. */
export class TeleportError extends Error {
  static {
    this.prototype.name = "TeleportError";
  }

  constructor(code, message = texts[code] ?? "", reason = "", notRun = false) {
    super([`${code}`, message, reason].filter(Boolean).join(": "));
    this.stack; // V8 now puts that at its head, for consoles
    Object.assign(this, { code, message, reason, notRun });
  }
}

/** Reads the error of a reply, {code, message, reason}; undefined without one. */
export function readError(value, notRun = false) {
  if (value === undefined || value === null) return undefined;
  const { code, message = "", reason = "" } = value;
  if (!Number.isInteger(code)) return new TeleportError(400, undefined, `the error of the reply has no code: ${JSON.stringify(value)}`);
  return code === 0 ? undefined : new TeleportError(code, `${message}`, `${reason}`, notRun);
}

/** Writes metadata: a query string in which a space is %20. */
export function writeMeta(meta) {
  return `${meta}`.replaceAll("+", "%20");
}

/** Reads metadata. A plus sign is one. */
export function readMeta(text) {
  return new URLSearchParams(text.replaceAll("+", "%2B"));
}
