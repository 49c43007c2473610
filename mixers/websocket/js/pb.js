// teleport.pb: each message is a protobuf message in a binary frame.
//
//     1 int32 sequence number   2 int32 type         3 string service method
//     4 bytes metadata          5 int32 body codec   6 bytes body
//     7 bytes ids of the filters of the body

import { encodeBody, encodeMeta, readParts, text, utf8 } from "./binary.js";

const wires = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 };

export const pb = {
  name: "teleport.pb",

  encode(message) {
    const { codec, bytes } = encodeBody(message);
    const parts = [];
    const number = (field, value) => value !== 0 && parts.push(varint((field << 3) | wires.varint), varint(value));
    const block = (field, value) =>
      value.length > 0 && parts.push(varint((field << 3) | wires.bytes), varint(value.length), value);
    number(1, message.seq);
    number(2, message.type);
    block(3, utf8(message.route));
    block(4, encodeMeta(message));
    number(5, codec);
    block(6, bytes);
    const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  },

  decode(data) {
    if (typeof data === "string") throw new Error("a text frame: teleport.pb has binary frames");
    const message = new Uint8Array(data);
    const numbers = { 1: 0, 2: 0, 5: 0 };
    const blocks = { 3: none, 4: none, 6: none, 7: none };
    for (const { field, wire, value } of fields(message)) {
      const want = field in numbers ? wires.varint : field in blocks ? wires.bytes : wire;
      if (wire !== want) throw new Error(`field ${field} of a protobuf message has wire type ${wire}, want ${want}`);
      if (field in numbers) numbers[field] = value;
      if (field in blocks) blocks[field] = value;
    }
    const parts = readParts(blocks[4], numbers[5], blocks[6], blocks[7]);
    return { type: numbers[2], seq: numbers[1], route: text(blocks[3]), ...parts };
  },
};

const none = new Uint8Array(0);

// varint encodes an int32: a negative one has ten bytes, as protobuf requires.
function varint(value) {
  const out = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 0x7fn; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return out;
}

// fields yields the fields of a message. Numbers are int32.
function* fields(message) {
  let at = 0;
  const readVarint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (at === message.length) throw new Error("a protobuf message ends within a number");
      const b = message[at++];
      value |= BigInt(b & 0x7f) << shift;
      if (b < 0x80) return value;
    }
    throw new Error("a protobuf message has a number of more than ten bytes");
  };
  const take = (n) => {
    if (at + n > message.length) throw new Error("a protobuf message ends within a field");
    return message.subarray(at, (at += n));
  };
  while (at < message.length) {
    const key = Number(readVarint());
    const [field, wire] = [Math.floor(key / 8), key % 8];
    if (field === 0) throw new Error("a protobuf message has a field 0");
    switch (wire) {
      case wires.varint:
        yield { field, wire, value: Number(BigInt.asIntN(32, readVarint())) };
        break;
      case wires.bytes:
        yield { field, wire, value: take(Number(readVarint())) };
        break;
      case wires.fixed64:
      case wires.fixed32:
        take(wire === wires.fixed64 ? 8 : 4);
        break;
      default:
        throw new Error(`a protobuf message has the wire type ${wire}`);
    }
  }
}
