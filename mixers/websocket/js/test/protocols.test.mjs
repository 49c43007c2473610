// The bytes of the protocols: the vectors of doc/wire.md, the other way round too, and
// what is no message.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { pb } from "../pb.js";
import { raw } from "../raw.js";
import { TeleportError, json } from "../teleport.js";

const meta = (value) => new URLSearchParams(value);
const utf8 = (text) => new TextEncoder().encode(text);
const hex = (data) => Buffer.from(data).toString("hex");
const unhex = (text) => new Uint8Array(Buffer.from(text, "hex")).buffer;

// vector returns a vector of doc/wire.md as hex.
const page = readFileSync(new URL("../../../../doc/wire.md", import.meta.url), "utf8");
function vector(name) {
  const [, block] = page.match(new RegExp("```hex " + name + "\n(.*?)```", "s"));
  return block.replace(/#.*$/gm, "").replace(/\s/g, "");
}

// pbVector is one without the frame, which messages in WebSocket do not have.
const pbVector = (name) => vector(`protobuf ${name}`).slice(10);

const added = { seq: 1, route: "/math/add", meta: meta({ k: "v 1/é" }), body: [1, 2, 3] };
const notFound = new TeleportError(404, "Not Found");

for (const { name, protocol, bytes, message } of [
  { name: "raw call", protocol: raw, bytes: vector("raw seed-call"), message: { type: 1, ...added } },
  { name: "raw reply", protocol: raw, bytes: vector("raw seed-reply"), message: { type: 2, seq: 1, route: "", meta: meta({ who: "srv 1" }), body: 6 } },
  { name: "raw error", protocol: raw, bytes: vector("raw seed-404"), message: { type: 2, seq: 3, route: "", meta: meta(), error: notFound } },
  { name: "raw push", protocol: raw, bytes: vector("raw seed-push"), message: { type: 3, seq: 6, route: "/note/say", meta: meta(), body: "hi" } },
  { name: "protobuf call", protocol: pb, bytes: pbVector("v5-call"), message: { type: 1, ...added } },
]) {
  test(`vector: ${name}`, () => {
    assert.equal(hex(protocol.encode(message)), bytes);
    const got = protocol.decode(unhex(bytes));
    assert.deepEqual([got.type, got.seq, got.route, `${got.meta}`, got.read(false)], [
      message.type, message.seq, message.route, `${message.meta}`, message.body,
    ]);
    assert.deepEqual({ ...got.error }, { ...message.error });
  });
}

test("vector: raw plain text and a goodbye", () => {
  assert.equal(raw.decode(unhex(vector("raw seed-auth-call"))).read(false), "tok");
  const bye = raw.decode(unhex(vector("raw seed-bye-409")));
  assert.deepEqual([bye.type, bye.seq, bye.route, bye.meta.get("reason")], [6, 0, "bye", "id taken"]);
});

test("vector: raw with a filter is fatal, since its number is unknown", () => {
  assert.throws(() => raw.decode(unhex(vector("raw seed-md5"))), { message: /the filters 109, which/, fatal: true });
});

// Whatever one writes, the same reads.
for (const protocol of [json, raw, pb]) {
  for (const [name, fields] of Object.entries({
    "quotes, backslashes, control bytes and UTF-8": { body: "\"\\\n\u0000\u2028é中😀\ufeff", meta: meta({ "é+ =&%": "\"+ 😀" }) },
    "a key that comes again": { meta: meta([["a", "1"], ["b", ""], ["a", "2"]]) },
    "the smallest number": { seq: -(2 ** 31) },
    "the largest number": { seq: 2 ** 31 - 1 },
    "null": { body: null },
    "no body": { body: undefined },
    "empty text": { body: "" },
    "bytes": { body: Uint8Array.from({ length: 300 }, (_, i) => i) },
    "300 KB": { body: "é".repeat(150_000) },
    "an AUTH_CALL": { type: 4, route: "", body: "token" },
    "an error": { type: 2, route: "", error: new TeleportError(-1, "", "why\"") },
    "an error that has not run": { type: 2, route: "", meta: meta({ "X-Not-Run": "1" }), error: new TeleportError(503, "Busy", "", true) },
  })) {
    test(`round trip: ${protocol.name}, ${name}`, () => {
      const message = { type: 1, seq: 5, route: "/r?é", meta: meta(), body: undefined, error: undefined, ...fields };
      const data = protocol.encode(message);
      const got = protocol.decode(typeof data === "string" ? data : data.slice().buffer);
      got.body = got.read(false);
      for (const key of ["type", "seq", "route", "body"]) assert.deepEqual(got[key], message[key], key);
      assert.deepEqual(byKey(got.meta), byKey(message.meta));
      assert.deepEqual({ ...got.error }, { ...message.error });
    });
  }
}

// byKey sorts by key, since only the order of a key's values counts.
const byKey = (params) => [...params].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

test("teleport.json reads what it does not write itself", () => {
  for (const [doc, want] of [
    [{ seq: 1, serviceMethod: "/x" }, { type: 1, seq: 1, route: "/x" }],
    [{ serviceMethod: "/x", body: 0 }, { type: 3, seq: 0, route: "/x", body: 0 }],
    [{ seq: null, serviceMethod: "/x" }, { type: 3 }],
    [{ seq: 9, mtype: 3, serviceMethod: "/x" }, { type: 3, seq: 9 }],
    [{ seq: 1 }, { type: 2, body: undefined }],
    [{ seq: 1, serviceMethod: "/x", error: { code: 5 } }, { type: 2 }],
    [{ seq: 1, error: { code: 0 }, body: 4 }, { error: undefined, body: 4 }],
    [{ seq: 1, meta: { a: ["1", 2], b: true, c: null } }, { meta: "a=1&a=2&b=true" }],
    [{ seq: 1, meta: "a=1&b=+" }, { meta: "a=1&b=%2B" }],
    [{ seq: 1, bodyCodec: 115, body: "5" }, { body: "5", codec: 115 }],
    [{ seq: 1, bodyCodec: 106, body: "5" }, { body: 5 }],
    [{ seq: 1, bodyCodec: 106, body: 5 }, { body: 5 }],
    [{ seq: 1, bodyCodec: 112, body: "\n" }, { body: new Uint8Array([10]) }],
    [{ seq: 1, bodyBase64: "eyJhIjoxfQ==" }, { body: { a: 1 } }],
  ]) {
    const got = json.decode(JSON.stringify(doc));
    got.body = got.read(false);
    for (const [key, value] of Object.entries(want)) {
      assert.deepEqual(key === "meta" ? `${got.meta}` : got[key], value, `${key} of ${JSON.stringify(doc)}`);
    }
  }
});

test("a body that cannot be read is a fault of its message alone", () => {
  for (const [message, want] of [
    [json.decode('{"seq":1,"bodyCodec":106,"body":"{"}'), /JSON/],
    [json.decode('{"seq":1,"bodyBase64":"*"}'), /./],
    [json.decode('{"seq":1,"bodyBase64":"AA==","xferPipe":[103]}'), /the filters 103, which are unknown here/],
    [pb.decode(unhex("0801" + "1002" + "286a" + "32017b")), /JSON/],
    [pb.decode(unhex("0801" + "1002" + "2873" + "3201ff")), /./],
    [pb.decode(unhex("0801" + "1002" + "286a" + "320131" + "3a0167")), /the filters 103, which/],
  ]) {
    assert.deepEqual([message.seq, message.type], [1, 2]);
    assert.throws(() => message.read(false), want);
  }
});

test("an error that cannot be read is one", () => {
  for (const [message, want] of [
    [json.decode('{"seq":1,"error":"no"}'), '"no"'],
    [json.decode('{"seq":1,"error":{"message":"no"}}'), '{"message":"no"}'],
    [pb.decode(unhex("0801" + "1002" + "220f" + hex(utf8("X-Reply-Error=7")))), "7"],
    [pb.decode(unhex("0801" + "1002" + "220f" + hex(utf8("X-Reply-Error={")))), '"{"'],
  ]) {
    assert.deepEqual([message.error.code, message.error.reason], [400, `the error of the reply has no code: ${want}`]);
  }
});

test("a body as bytes is what was sent, whatever its codec", () => {
  for (const [message, want] of [
    [json.decode('{"seq":1,"body":{"a":1}}'), '{"a":1}'],
    [json.decode('{"seq":1}'), ""],
    [json.decode('{"seq":1,"bodyCodec":106,"body":"{"}'), "{"],
    [json.decode('{"seq":1,"bodyCodec":106,"bodyBase64":"ew=="}'), "{"],
    [pb.decode(unhex("0801" + "1002" + "286a" + "32017b")), "{"],
    [raw.decode(unhex(vector("raw seed-call"))), "[1,2,3]"],
  ]) {
    assert.deepEqual(message.read(true), utf8(want));
  }
});

test("what is no message throws and says why", () => {
  for (const [protocol, data, want] of [
    [raw, "text", /a text frame: teleport.raw has binary frames/],
    [raw, "", /a raw frame of 0 bytes ends within a field/],
    [raw, "00000005" + "7200", /of 6 bytes says that it has 5/],
    [raw, "00000006" + "0000", /of version 0, want 114/],
    [raw, "00000009" + "7200" + "0131" + "01", /ends within a field/],
    [raw, "0000000d" + "7200" + "012e" + "0100000000", /is no 32-bit integer/],
    [raw, "00000013" + "7200" + "077a7a7a7a7a7a7a" + "0100000000", /is no 32-bit integer/],
    [pb, "text", /a text frame: teleport.pb has binary frames/],
    [pb, "08", /ends within a number/],
    [pb, "08" + "ff".repeat(10), /more than ten bytes/],
    [pb, "0a00", /field 1 of a protobuf message has wire type 2, want 0/],
    [pb, "1801", /field 3 of a protobuf message has wire type 0, want 2/],
    [pb, "1a05" + "61", /ends within a field/],
    [pb, "1affffffffffffffff7f", /ends within a field/],
    [pb, "0001", /has a field 0/],
    [pb, "4b", /the wire type 3/],
  ]) {
    assert.throws(() => protocol.decode(data === "text" ? data : unhex(data)), want, data);
  }
  assert.throws(() => json.decode("{}x"), /JSON/);
});

test("teleport.pb writes negative numbers as protobuf does", () => {
  const message = { type: 2, seq: -1, route: "", meta: meta(), body: undefined };
  assert.equal(hex(pb.encode(message)), "08ffffffffffffffffff01" + "1002");
});

test("teleport.pb skips fields that it does not know", () => {
  const got = pb.decode(unhex("0802" + "4001" + "4d00000000" + "510000000000000000" + "5a0161" + "1003"));
  assert.deepEqual([got.seq, got.type], [2, 3]);
});

test("what a protocol cannot carry is an error", () => {
  const message = { type: 1, seq: 1, route: "/", meta: meta(), body: null };
  assert.throws(() => raw.encode({ ...message, route: "é".repeat(128) }), /has 256 bytes, more than 255/);
  assert.throws(() => raw.encode({ ...message, meta: meta({ k: "x".repeat(65536) }) }), /metadata have 65538 bytes/);
  for (const protocol of [json, raw, pb]) {
    assert.throws(() => protocol.encode({ ...message, body: 1n }), /BigInt/);
    assert.throws(() => protocol.encode({ ...message, body: () => 1 }), /a function is no body/);
  }
});

// Both sides of a stream count the bytes of its messages.
for (const protocol of [json, raw, pb]) {
  for (const [name, body] of Object.entries({
    "no body": undefined, null: null, "empty text": "", text: "é中😀\"\\\n\u0001", object: { body: [1.5, { body: "," }], "a,b": "}" }, bytes: new Uint8Array([0, 255]),
  })) {
    test(`size of a message of a stream: ${protocol.name}, ${name}`, () => {
      const message = { type: 7, seq: -5, route: "", meta: meta({ body: '"body":1' }), body, error: undefined };
      const data = protocol.encode(message);
      const got = protocol.decode(typeof data === "string" ? data : data.slice().buffer);
      assert.deepEqual([got.type, got.seq, got.size()], [7, -5, message.size]);
      assert.deepEqual(got.read(false), body);
    });
  }
}

test("size of a message of a stream: as it stands in a document", () => {
  for (const [doc, want] of [
    ['{"seq":1,"mtype":7,"body": {"a" : "é"} ,"meta":{"body":"x"}}', 12],
    ['{"meta":{"body":"xxxx"},"body":1}', 1],
    ['{"body":"","seq":1}', 2],
    ['{"seq":1}', 0],
    ['{"seq":1,"bodyCodec":106,"body":"[1,2]"}', 5],
    ['{"seq":1,"bodyCodec":0,"bodyBase64":"AAE="}', 2],
    ['{"\\u0062ody":[1]}', 17],
  ]) {
    assert.equal(json.decode(doc).size(), want, doc);
  }
});
