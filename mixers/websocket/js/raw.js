// teleport.raw: each message is a frame of the raw protocol in a binary frame. Numbers are
// big endian.
//
//     u32  size of all
//     'r'  version
//     u8   number of filters, and as many ids
//     u8   length, sequence number as signed base-36 text
//     u8   type
//     u8   length, service method
//     u16  length, metadata
//     u8   codec
//          body

import { encodeBody, encodeMeta, readParts, text, utf8 } from "./binary.js";
import { isSeq } from "./message.js";

const version = 0x72;

export const raw = {
  name: "teleport.raw",

  encode(message) {
    const seq = utf8(message.seq.toString(36));
    const route = utf8(message.route);
    const meta = encodeMeta(message);
    const { codec, bytes } = encodeBody(message);
    if (route.length > 0xff) throw new Error(`the service method has ${route.length} bytes, more than 255`);
    if (meta.length > 0xffff) throw new Error(`the metadata have ${meta.length} bytes, more than 65535`);
    const out = new Uint8Array(12 + seq.length + route.length + meta.length + bytes.length);
    let at = 0;
    const put = (...parts) => {
      for (const part of parts) {
        out.set(part, at);
        at += part.length;
      }
    };
    put(number(out.length, 4), [version, 0]); // no filters
    put([seq.length], seq, [message.type]);
    put([route.length], route);
    put(number(meta.length, 2), meta);
    put([codec], bytes);
    return out;
  },

  decode(data) {
    if (typeof data === "string") throw new Error("a text frame: teleport.raw has binary frames");
    const frame = new Uint8Array(data);
    let at = 0;
    const take = (n) => {
      if (at + n > frame.length) throw new Error(`a raw frame of ${frame.length} bytes ends within a field`);
      return frame.subarray(at, (at += n));
    };
    const int = (n) => take(n).reduce((sum, b) => sum * 256 + b, 0);
    const size = int(4);
    if (size !== frame.length) throw new Error(`a raw frame of ${frame.length} bytes says that it has ${size}`);
    const v = int(1);
    if (v !== version) throw new Error(`a raw frame of version ${v}, want ${version}`);
    const filters = take(int(1));
    if (filters.length > 0) {
      // The number is behind them, so that nobody knows which call has been answered.
      throw Object.assign(new Error(`a message has the filters ${filters}, which are unknown here`), { fatal: true });
    }
    const digits = text(take(int(1)));
    const seq = /^-?[0-9a-z]+$/i.test(digits) ? parseInt(digits, 36) : NaN;
    if (!isSeq(seq)) throw new Error("a raw frame whose sequence number is no 32-bit integer");
    const type = int(1);
    const route = text(take(int(1)));
    const meta = take(int(2));
    const codec = int(1);
    return { type, seq, route, ...readParts(meta, codec, frame.subarray(at)) };
  },
};

function number(value, bytes) {
  return Array.from({ length: bytes }, (_, i) => (value >>> (8 * (bytes - 1 - i))) & 0xff);
}
