// Streams that a session opens.

import assert from "node:assert/strict";
import test from "node:test";
import { json } from "../teleport.js";
import { clock, rejection, session, turn } from "./fake.mjs";

const hello = (w = 1000) => ({ mtype: 6, serviceMethod: "hello", meta: { v: "1", f: "cancel,stream", w: `${w}` } });

/** Opens a stream to a server that has said hello; deliver is for messages of the stream. */
async function open(t, options, sessionOptions, w) {
  const { s, WebSocket, warnings } = await session(t, sessionOptions);
  const ws = WebSocket.last;
  const stream = s.openStream("/chat", options);
  ws.deliver(hello(w));
  const { seq } = ws.find({ serviceMethod: "/chat" });
  const deliver = async (message) => {
    ws.deliver({ seq: -seq, ...message });
    await turn();
  };
  const data = (body) => deliver({ mtype: 7, body });
  const control = (serviceMethod, meta) => deliver({ mtype: 6, serviceMethod, meta });
  const reply = (fields) => deliver({ seq, mtype: 2, ...fields });
  const sent = () => ws.messages.filter((m) => m.mtype === 7).map((m) => m.body);
  return { s, ws, stream, seq, deliver, data, control, reply, sent, warnings };
}

test("a stream waits for the server's hello, with what is sent over it", async (t) => {
  const { s, WebSocket } = await session(t);
  const stream = s.openStream("/chat?room=tea", { body: { user: "ann" }, meta: { k: "v" }, window: 500 });
  const sent = Promise.all([stream.send("a"), stream.send(undefined), stream.closeSend()]);
  await turn();
  const ws = WebSocket.last;
  assert.deepEqual(ws.messages, [{ seq: 0, mtype: 6, serviceMethod: "hello", meta: { v: "1", f: "cancel,stream", w: "16384" } }]);
  const call = s.call("/other"); // does not
  assert.equal(ws.messages.at(-1).serviceMethod, "/other");
  ws.deliver(hello());
  await sent;
  assert.deepEqual(ws.messages.slice(2), [
    { seq: 2, serviceMethod: "/chat?room=tea", meta: { k: "v", "X-Stream": "500" }, body: { user: "ann" } },
    { seq: 2, mtype: 7, body: "a" },
    { seq: 2, mtype: 7 },
    { seq: 2, mtype: 6, serviceMethod: "end", meta: { m: "2" } },
  ]);
  assert.equal((await rejection(stream.send("b"))).reason, "closeSend was called");
  await stream.closeSend();
  assert.equal(ws.sent.length, 6);
  ws.deliver({ seq: 1, body: 1 });
  await call;
});

test("messages are received in order, until the reply", async (t) => {
  const { stream, data, reply } = await open(t);
  const first = stream.next();
  await data("a");
  await data({ b: 1 });
  await data("c");
  assert.deepEqual(await first, { done: false, value: "a" });
  await reply({ meta: { k: "v", "X-Stream": "3" } });
  const rest = [];
  for await (const message of stream) rest.push(message);
  assert.deepEqual(rest, [{ b: 1 }, "c"]);
  assert.equal(`${await stream.closed}`, "k=v");
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
  const late = await rejection(stream.send("late"));
  assert.deepEqual([late.code, late.reason], [1, "the stream has ended"]);
});

test("the end of the other side's messages is not that of the stream", async (t) => {
  const { stream, data, control, sent, reply } = await open(t);
  await data("last");
  await control("end", { m: "1" });
  assert.equal((await stream.next()).value, "last");
  assert.equal((await stream.next()).done, true);
  await stream.send("still");
  assert.deepEqual(sent(), ["still"]);
  await reply();
  await stream.closed;
});

test("bytes as they are on the wire", async (t) => {
  const { stream, data } = await open(t, { bytes: true });
  await data([1]);
  assert.deepEqual((await stream.next()).value, new TextEncoder().encode("[1]"));
});

test("an error of the handler comes behind its messages", async (t) => {
  const { stream, data, reply } = await open(t);
  const waiting = stream.send("x".repeat(10_000)).then(() => rejection(stream.send("waits for credit")));
  await data("a");
  await reply({ error: { code: 1001, message: "sold out", reason: "shelf 7" } });
  assert.equal((await stream.next()).value, "a");
  for (const promise of [stream.next(), stream.next(), stream.closed, stream.send("late")]) {
    const err = await rejection(promise);
    assert.deepEqual([err.code, err.message, err.reason], [1001, "sold out", "shelf 7"]);
  }
  assert.equal((await waiting).code, 1001);
});

test("send waits for credit, and a message may be larger than what is left", async (t) => {
  const { stream, control, sent } = await open(t, {}, {}, 100);
  const done = [];
  for (const text of ["a".repeat(34), "b".repeat(98), "c", "d"]) stream.send(text).then(() => done.push(text[0])); // and two quotes
  await turn();
  assert.deepEqual(done, ["a"], "36 + 64 bytes are all of 100");
  assert.equal(stream.acked, 0);
  await control("credit", { n: "1", m: "1" });
  assert.deepEqual(done, ["a", "b"]);
  await control("credit", { n: "163", m: "1" });
  assert.deepEqual(done, ["a", "b"], "-163 + 163 is nothing");
  await control("credit", { n: "1", m: "2" });
  assert.deepEqual(done, ["a", "b", "c"]);
  assert.equal(stream.acked, 2);
  await control("credit", { n: "500", m: "9" });
  assert.deepEqual(sent().map((text) => text[0]), ["a", "b", "c", "d"]);
  assert.equal(stream.acked, 3, "no more than were sent");
});

test("a message that cannot be encoded is its own error alone", async (t) => {
  const { stream, sent } = await open(t);
  const err = await rejection(stream.send(1n));
  assert.equal(err.code, 104);
  await stream.send("next");
  assert.deepEqual(sent(), ["next"]);
});

test("credit is given back when half of the window has been received", async (t) => {
  const { ws, stream, data } = await open(t, { window: 280 });
  const credits = () => ws.messages.filter((m) => m.serviceMethod === "credit").map((m) => m.meta);
  for (const body of ["a", [1, 2], "b", "c"]) await data(body); // 67 + 69 + 67 + 67
  assert.deepEqual(credits(), []);
  await stream.next();
  await stream.next();
  assert.deepEqual(credits(), [], "136 are less than 140");
  await stream.next();
  assert.deepEqual(credits(), [{ n: "203", m: "3" }]);
});

test("metadata cost credit", async (t) => {
  const { ws, stream, deliver } = await open(t, { window: 280 });
  await deliver({ mtype: 7, body: "a", meta: { tag: ["ü", ""] } }); // 67 + 37 + 35
  await stream.next();
  await deliver({ mtype: 7, body: "b" });
  await stream.next();
  assert.deepEqual(ws.messages.filter((m) => m.serviceMethod === "credit").map((m) => m.meta), [{ n: "206", m: "2" }]);
});

test("messages that nobody receives are bounded by the window", async (t) => {
  const { ws, stream, data } = await open(t, { window: 100 });
  await data("x".repeat(1000)); // with any credit, one may have any size
  await data("overdrawn");
  const err = await rejection(stream.closed);
  assert.deepEqual([err.code, err.reason], [400, "the other side has sent more than the window of the stream"]);
  assert.deepEqual(ws.messages.at(-1), { seq: 1, mtype: 6, serviceMethod: "reset", meta: { code: "400", reason: err.reason } });
  const n = ws.sent.length;
  await data("more");
  assert.equal(ws.sent.length, n, "what comes later is dropped");
  assert.equal((await rejection(stream.next())).code, 400);
});

for (const [name, act, reason] of [
  ["a message behind the end", async ({ control, data }) => (await control("end"), data(1)), /behind its end/],
  ["a message is lost", async ({ data, control }) => (await data(1), control("end", { m: "2" })), /1 messages of the stream have come; the other side says that it has sent 2/],
  ["no credit", ({ control }) => control("credit", { n: "0", m: "0" }), /credit: 0 bytes more than 1000/],
  ["negative credit", ({ control }) => control("credit", { n: "-1" }), /credit: -1 bytes/],
  ["credit that is no number", ({ control }) => control("credit", { n: "1e3" }), /credit: 1e3 bytes/],
  ["too much credit", ({ control }) => control("credit", { n: `${2 ** 31 - 1}` }), /credit: 2147483647 bytes more than 1000/],
  ["bytes that are none", ({ ws, seq }) => ws.deliver({ seq: -seq, mtype: 7, bodyBase64: "*" }), /a message of the stream:/],
]) {
  test(`a fault of the other side resets the stream: ${name}`, async (t) => {
    const opened = await open(t);
    await act(opened);
    const err = await rejection(opened.stream.closed);
    assert.equal(err.code, 400);
    assert.match(err.reason, reason);
    assert.equal(opened.ws.messages.at(-1).serviceMethod, "reset");
    assert.equal(opened.s.state, "open");
  });
}

test("a message that cannot be read ends the stream", async (t) => {
  const { ws, stream, seq } = await open(t);
  ws.deliver({ seq: -seq, mtype: 7, bodyCodec: 106, body: "{" });
  const err = await rejection(stream.next());
  assert.equal(err.code, 400);
  assert.match(err.reason, /a message of the stream: .*JSON/);
  assert.equal(ws.messages.at(-1).serviceMethod, "reset");
  assert.equal(await rejection(stream.closed), err);
});

test("the reply says that a message is lost", async (t) => {
  const { stream, data, reply } = await open(t);
  await data("a");
  await reply({ meta: { "X-Stream": "2" } });
  assert.equal((await stream.next()).value, "a");
  assert.match((await rejection(stream.next())).reason, /1 messages of the stream have come/);
});

test("a reset by the server", async (t) => {
  const { stream, control } = await open(t);
  await control("reset", { code: "503", reason: "memory" });
  const err = await rejection(stream.next());
  assert.deepEqual([err.code, err.message, err.reason], [503, "Busy", "memory"]);
});

for (const [name, leave] of [
  ["close", ({ stream }) => stream.close()],
  ["a loop that is left", async ({ stream }) => {
    for await (const message of stream) break;
  }],
  ["the signal", ({ stop }) => stop.abort()],
]) {
  test(`the opener gives up: ${name}`, async (t) => {
    const stop = new AbortController();
    const opened = await open(t, { signal: stop.signal });
    const { ws, stream, seq, data } = opened;
    await data("a");
    await data("b");
    await leave({ ...opened, stop });
    assert.deepEqual(ws.messages.at(-1), { seq, mtype: 6, serviceMethod: "cancel" });
    const err = await rejection(stream.next());
    assert.ok(err.code === 499 || err.name === "AbortError", `${err}`);
    await data("late");
    assert.equal(await rejection(stream.closed), err);
  });
}

test("the connection ends: what came is received, and the stream is not opened again", async (t) => {
  const tick = clock(t);
  const { ws, s, stream, data } = await open(t);
  await data("a");
  ws.drop();
  assert.equal((await stream.next()).value, "a");
  const err = await rejection(stream.next());
  assert.deepEqual([err.code, s.state], [102, "waiting"]);
  assert.equal((await rejection(stream.send("b"))).code, 102);
  await tick(600);
});

test("a server without streams", async (t) => {
  const { s, WebSocket } = await session(t);
  const stream = s.openStream("/chat");
  WebSocket.last.deliver({ mtype: 6, serviceMethod: "hello", meta: { v: "1", f: "cancel" } });
  const err = await rejection(stream.closed);
  assert.deepEqual([err.code, err.message, err.reason, err.notRun], [501, "Not Implemented", "the server has no streams: its hello does not name them", true]);
});

test("a server that does not say hello", async (t) => {
  const tick = clock(t);
  const { s } = await session(t, { waitTimeout: 100 });
  const stream = s.openStream("/chat");
  const sending = rejection(stream.send("a"));
  await tick(100);
  assert.equal((await sending).reason, "the server has no streams: it has not answered hello within 100 ms");
});

test("a stream has no timeout but its own", async (t) => {
  const tick = clock(t);
  const { s, WebSocket } = await session(t, { timeout: 10 });
  WebSocket.last.deliver(hello());
  const [forever, short] = [s.openStream("/x"), s.openStream("/x", { timeout: 100 })];
  assert.deepEqual(WebSocket.last.messages.slice(1).map((m) => m.meta), [{ "X-Stream": "262144" }, { "X-Timeout": "100", "X-Stream": "262144" }]);
  await tick(100);
  assert.equal((await rejection(short.next())).code, 408);
  await forever.send("a");
});

test("the windows of all streams are bounded", async (t) => {
  const { s, WebSocket } = await session(t, { streamWindow: 6 << 20 });
  WebSocket.last.deliver(hello());
  const streams = [1, 2, 3, 4].map(() => s.openStream("/x"));
  const windows = () => WebSocket.last.messages.filter((m) => m.serviceMethod === "/x").map((m) => Number(m.meta["X-Stream"]));
  assert.deepEqual(windows(), [6 << 20, 6 << 20, 16384, 16384]);
  streams[0].close();
  s.openStream("/x");
  assert.equal(windows().at(-1), 6 << 20);
});

test("a sub-protocol that does not count bytes has no streams", async (t) => {
  const { stream } = await open(t, {}, { protocols: [{ ...json, encode: ({ ...message }) => json.encode(message) }] });
  stream.send("a").catch(() => {});
  assert.equal((await rejection(stream.closed)).code, 501);
});

test("bad options", async (t) => {
  const { s } = await session(t);
  assert.throws(() => s.openStream("/x", { windw: 1 }), /openStream: there is no option windw/);
  for (const window of [0, -1, 1.5, "9", 2 ** 25]) assert.throws(() => s.openStream("/x", { window }), /window is .*: want bytes, 1 to 16777216/);
});

test("what is for no stream is dropped", async (t) => {
  const { ws, s, warnings, seq } = await open(t);
  const n = ws.sent.length;
  for (const number of [0, seq, -seq - 1]) {
    ws.deliver({ seq: number, mtype: 7, body: 1 });
    for (const serviceMethod of ["end", "credit", "reset", "unknown"]) ws.deliver({ seq: number, mtype: 6, serviceMethod });
  }
  assert.deepEqual([ws.sent.length, warnings, s.state], [n, [], "open"]);
});
