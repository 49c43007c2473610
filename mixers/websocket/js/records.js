// What a stream that outlives its connections is on the wire: the preamble of a connection
// and records, as Go's package mixers/resume has them, and in the records the frames of
// RFC 6455, unmasked, that a WebSocket would send.

import { strictText, utf8 } from "./binary.js";

/** A preamble: magic, token, and the positions that its sender has sent and received. */
export const preambleSize = 32;
export const tokenSize = 16;
const magic = [0x74, 0x70, 0x72, 1];

/** A record with bytes has their number in front, at most this one. */
export const maxRecord = 0x7fff;
export const headSize = 2;
const ack = 0x8000;
const end = 0x8001;
const bye = 0x8002;

export const ackSize = 8;
export const endRecord = head(end);
export const byeRecord = head(bye);

/** The opcodes of frames. */
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;

/** The distance between two positions, of which the low 48 bits travel. */
export function distance(from, to) {
  return (((to - from) % 2 ** 48) + 2 ** 48) % 2 ** 48;
}

function putPosition(out, at, position) {
  const view = new DataView(out.buffer);
  view.setUint16(at, Math.floor(position / 2 ** 32) % 2 ** 16);
  view.setUint32(at + 2, position % 2 ** 32);
}

function getPosition(bytes, at) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2);
}

export function writePreamble({ token, sent, received }) {
  const out = new Uint8Array(preambleSize);
  out.set(magic);
  out.set(token, magic.length);
  putPosition(out, 20, sent);
  putPosition(out, 26, received);
  return out;
}

/** Reads a preamble; refused: the text of the verdict, if the other side does not have the stream. */
export function readPreamble(bytes) {
  if (magic.some((b, i) => bytes[i] !== b)) throw new Error("the server does not speak resume");
  const token = bytes.slice(magic.length, magic.length + tokenSize);
  const [sent, received] = [getPosition(bytes, 20), getPosition(bytes, 26)];
  return { token, sent, received, refused: token.some((b) => b !== 0) ? undefined : verdict(sent) };
}

function verdict(n) {
  const texts = {
    1: "the server does not have the session any more",
    2: "the server has no such position in the session",
    3: "the session belongs to another client",
  };
  return texts[n] ?? `the server refuses for the reason ${n}`;
}

export function head(n) {
  return new Uint8Array([n >> 8, n & 0xff]);
}

export function ackRecord(position) {
  const out = new Uint8Array(ackSize);
  out.set(head(ack));
  putPosition(out, headSize, position);
  return out;
}

export function concat(parts) {
  if (parts.length === 1) return parts[0];
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Reads records, whatever the pieces in which they come. */
export class RecordReader {
  #left = 0; // bytes of the present record that are still to come
  #head = new Uint8Array(ackSize);
  #have = 0; // bytes of head
  #ended = false;
  #on;

  /** on.data gets bytes of the stream, on.ack a position; on.end and on.bye are called once. */
  constructor(on) {
    this.#on = on;
  }

  /** Throws for what is no record. */
  feed(bytes) {
    for (let at = 0; at < bytes.length; ) {
      if (this.#left > 0) {
        const piece = bytes.subarray(at, at + this.#left);
        at += piece.length;
        this.#left -= piece.length;
        this.#on.data(piece);
        continue;
      }
      this.#head[this.#have++] = bytes[at++];
      if (this.#have < headSize) continue;
      const n = this.#head[0] * 256 + this.#head[1];
      if (n === ack && this.#have < ackSize) continue;
      this.#have = 0;
      if (n === ack) this.#on.ack(getPosition(this.#head, headSize));
      else if (n === end && !this.#ended) this.#on.end((this.#ended = true));
      else if (n === bye && this.#ended) this.#on.bye();
      else if (n === 0 || n > maxRecord || this.#ended) throw new Error(`a record begins with 0x${n.toString(16)}, which means nothing here`);
      else this.#left = n;
    }
  }
}

/** A frame with its payload, a text or bytes. */
export function frame(op, data) {
  const payload = typeof data === "string" ? utf8(data) : data;
  const n = payload.length;
  const size = n < 126 ? 2 : n < 2 ** 16 ? 4 : 10;
  const out = new Uint8Array(size + n);
  const view = new DataView(out.buffer);
  out[0] = 0x80 | op;
  out[1] = size === 2 ? n : size === 4 ? 126 : 127;
  if (size === 4) view.setUint16(2, n);
  if (size === 10) view.setBigUint64(2, BigInt(n));
  out.set(payload, size);
  return out;
}

export function closeFrame(code, reason) {
  return frame(CLOSE, concat([head(code), utf8(reason)]));
}

/** The text of a text frame. Throws for what is not UTF-8. */
export function readText(payload) {
  return decode(payload, `a text message of ${payload.length} bytes`);
}

/** The code and the reason of a close frame. Throws for a reason that is not UTF-8. */
export function readClose(payload) {
  if (payload.length < 2) return { code: 1005, reason: "" };
  const code = payload[0] * 256 + payload[1];
  return { code, reason: decode(payload.subarray(2), `the reason of the close ${code}`) };
}

// decode decodes what must be UTF-8 by RFC 6455, 8.1.
function decode(bytes, what) {
  try {
    return strictText(bytes);
  } catch {
    throw invalid(1007, `${what} is not UTF-8`);
  }
}

// invalid is an error; close: the code that the other side gets, if that is not 1002.
function invalid(close, message) {
  return Object.assign(new Error(message), { close });
}

/** Reads frames, whatever the pieces in which they come. */
export class FrameReader {
  #max;
  #bytes = new Uint8Array(0); // what has come and was not read: from #from to #to
  #from = 0;
  #to = 0;

  /** max: the largest payload in bytes. */
  constructor(max) {
    this.#max = max;
  }

  /** How many bytes have come that were not read. */
  get size() {
    return this.#to - this.#from;
  }

  push(piece) {
    const have = this.size;
    if (this.#to + piece.length > this.#bytes.length) {
      const room = have + piece.length <= this.#bytes.length / 2 ? this.#bytes : new Uint8Array(Math.max(2 * (have + piece.length), 1024));
      room.set(this.#bytes.subarray(this.#from, this.#to));
      this.#bytes = room;
      this.#from = 0;
      this.#to = have;
    }
    this.#bytes.set(piece, this.#to);
    this.#to += piece.length;
  }

  /** The next frame, {op, payload}; undefined if it has not come yet. Throws for what is none, and for one over the limit. */
  next() {
    const bytes = this.#bytes.subarray(this.#from, this.#to);
    if (bytes.length < 2) return undefined;
    const op = bytes[0] & 0x0f;
    if ((bytes[0] & 0xf0) !== 0x80 || (bytes[1] & 0x80) !== 0) throw new Error(`a frame begins with ${bytes[0]}, ${bytes[1]}: it is a fragment, masked, or has reserved bits`);
    const size = { 126: 4, 127: 10 }[bytes[1]] ?? 2;
    if (bytes.length < size) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const n = size === 2 ? bytes[1] : size === 4 ? view.getUint16(2) : Number(view.getBigUint64(2));
    if (n > this.#max) throw invalid(1009, `a message of ${n} bytes is over the limit of ${this.#max}`);
    if (bytes.length < size + n) return undefined;
    this.#from += size + n;
    const payload = bytes.slice(size, size + n);
    if (this.#from === this.#to) {
      this.#from = this.#to = 0;
      if (this.#bytes.length > 1 << 16) this.#bytes = new Uint8Array(0);
    }
    return { op, payload };
  }
}
