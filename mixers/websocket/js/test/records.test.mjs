// The bytes of preambles, records and frames: those of Go's package mixers/resume.

import assert from "node:assert/strict";
import test from "node:test";
import * as wire from "../records.js";

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const token = Uint8Array.from({ length: 16 }, (_, i) => i + 1);

test("preambles and records byte by byte", () => {
  const p = { token, sent: 2 ** 40 + 1, received: 2 ** 48 - 1 };
  assert.equal(hex(wire.writePreamble(p)), "74707201" + "0102030405060708090a0b0c0d0e0f10" + "010000000001" + "ffffffffffff");
  assert.deepEqual(wire.readPreamble(wire.writePreamble(p)), { ...p, refused: undefined });
  assert.equal(hex(wire.writePreamble({ token, sent: 2 ** 48 + 5, received: 2 ** 32 })).slice(40), "000000000005" + "000100000000", "the low 48 bits");
  assert.equal(hex(wire.head(0x7fff)) + hex(wire.ackRecord(2 ** 32 + 9)) + hex(wire.endRecord) + hex(wire.byeRecord), "7fff" + "8000000100000009" + "8001" + "8002");
  assert.throws(() => wire.readPreamble(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: example.com")), /does not speak resume/);
});

test("positions go round", () => {
  for (const [from, to, want] of [[0, 5, 5], [2 ** 48 - 1, 1, 2], [5, 0, 2 ** 48 - 5], [2 ** 48 + 7, 9, 2]]) {
    assert.equal(wire.distance(from, to), want, `${from} ${to}`);
  }
});

test("records and frames mean the same whatever the pieces in which they come", () => {
  const frames = [wire.frame(wire.TEXT, "é"), wire.frame(wire.BINARY, new Uint8Array(126)), wire.frame(wire.BINARY, new Uint8Array(70_000)), wire.frame(wire.TEXT, ""), wire.closeFrame(3456, "done é")];
  const all = wire.concat(frames);
  const records = [];
  for (let at = 0; at < all.length; at += 30_000) {
    const part = all.subarray(at, at + 30_000);
    records.push(wire.head(part.length), part, wire.ackRecord(at));
  }
  records.push(wire.endRecord, wire.byeRecord);
  const stream = wire.concat(records);
  const want = "1:c3a9 2:126 2:70000 1: 8:0d80646f6e6520c3a9 ack 0 ack 30000 ack 60000 end bye";
  for (const size of [1, 2, 3, 7, 1000, 65_536, stream.length]) {
    const got = [];
    const controls = [];
    const f = new wire.FrameReader(1 << 20);
    const r = new wire.RecordReader({
      data: (piece) => f.push(piece),
      ack: (position) => controls.push(`ack ${position}`),
      end: () => controls.push("end"),
      bye: () => controls.push("bye"),
    });
    for (let at = 0; at < stream.length; at += size) {
      r.feed(stream.subarray(at, at + size));
      for (let x; (x = f.next()); ) got.push(`${x.op}:${x.payload.length > 100 ? x.payload.length : hex(x.payload)}`);
    }
    assert.equal([...got, ...controls].join(" "), want, `pieces of ${size}`);
    assert.equal(f.size, 0);
  }
  assert.deepEqual(wire.readClose(frames.at(-1).subarray(2)), { code: 3456, reason: "done é" });
  assert.deepEqual(wire.readClose(new Uint8Array(0)), { code: 1005, reason: "" });
  assert.deepEqual(wire.readClose(new Uint8Array([0x0f, 0xa0])), { code: 4000, reason: "" });
});

test("text that is not UTF-8 is an error which names the field", () => {
  for (const bad of [[0xff], [0xc3], [0x61, 0x80], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
    const bytes = Uint8Array.from(bad);
    const fields = [
      [() => wire.readText(bytes), `a text message of ${bad.length} bytes is not UTF-8`],
      [() => wire.readClose(wire.concat([wire.head(4000), bytes])), "the reason of the close 4000 is not UTF-8"],
    ];
    for (const [read, message] of fields) assert.throws(read, { message, close: 1007 }, hex(bytes));
  }
  assert.equal(wire.readText(new TextEncoder().encode("\ufeffé😀")), "\ufeffé😀", "a mark at the beginning stays");
});
