// Sessions that outlive their connections: the test plays a server of mixers/resume.

import assert from "node:assert/strict";
import test from "node:test";
import { json } from "../json.js";
import { CLOSE, FrameReader, RecordReader, TEXT, ackRecord, byeRecord, closeFrame, concat, endRecord, frame, head, readClose, readPreamble, writePreamble } from "../records.js";
import { resume } from "../resume.js";
import { connect } from "../teleport.js";
import { clock, fakeWebSocket, rejection, session, turn } from "./fake.mjs";

const token = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const record = (bytes) => concat([head(bytes.length), bytes]);
const buffer = (bytes) => bytes.slice().buffer;

// The server's end of a stream: what it has received, and what it has sent.
class Server {
  received = 0;
  sent = []; // all bytes of records
  messages = [];
  acks = [];
  ends = [];
  #records = new RecordReader({
    data: (piece) => this.#frames.push(piece),
    ack: (position) => this.acks.push(position),
    end: () => this.ends.push("end"),
    bye: () => this.ends.push("bye"),
  });
  #frames = new FrameReader(1 << 30);

  /** Accepts a connection, and takes what is sent over it. question: the page's preamble. */
  accept(ws, name = ws.protocols[0]) {
    ws.accept(name);
    this.ws = ws;
    this.question = readPreamble(ws.sent.shift());
  }

  /** Answers the preamble: the session goes on where it was. */
  answer({ with: t = token, sent = this.sent.length, received = this.received } = {}) {
    this.ws.deliver(buffer(writePreamble({ token: t, sent, received })));
    if (this.question.received < this.sent.length) this.ws.deliver(buffer(Uint8Array.from(this.sent.slice(this.question.received))));
  }

  /** Reads what was sent over the connection; most: how many bytes arrive. */
  read(most = Infinity) {
    for (let bytes; (bytes = this.ws.sent.shift()); ) {
      const part = bytes.subarray(0, Math.max(0, most));
      most -= part.length;
      this.received += part.length;
      this.#records.feed(part);
    }
    for (let f; (f = this.#frames.next()); ) this.messages.push(f.op === TEXT ? JSON.parse(new TextDecoder().decode(f.payload)) : readClose(f.payload));
    return this.messages.at(-1);
  }

  /** Sends bytes of records, of which so many arrive. */
  write(bytes, arrive = bytes.length) {
    for (const b of bytes) this.sent.push(b);
    if (arrive > 0) this.ws.deliver(buffer(bytes.subarray(0, arrive)));
  }

  say(message, arrive) {
    this.write(record(frame(TEXT, JSON.stringify(message))), arrive);
  }

  /** The page has dialled again: the session goes on. */
  resume(WebSocket) {
    this.accept(WebSocket.last);
    this.answer();
  }
}

// begin opens a session over a fake, and returns the server's end.
async function begin(t, options = {}, resumeOptions = {}) {
  const all = await session(t, { resume: resume(resumeOptions), ...options }, false);
  const server = new Server();
  server.accept(all.WebSocket.last);
  server.answer();
  await turn();
  const closes = [];
  all.s.addEventListener("close", (e) => closes.push([e.code, e.reason]));
  return { ...all, server, closes };
}

test("a session begins: the names, the preambles, messages", async (t) => {
  const { s, WebSocket, server } = await begin(t);
  assert.deepEqual(WebSocket.last.protocols, ["resume.teleport.json", "teleport.json"]);
  assert.deepEqual([...server.question.token], Array(16).fill(0));
  assert.equal(s.protocol, "teleport.json");
  const call = s.call("/a", "é");
  await turn();
  const { seq } = server.read();
  server.say({ seq, body: "there" });
  assert.equal(await call, "there");
});

test("connections are cut within messages, and the session goes on", async (t) => {
  const { s, WebSocket, server, closes } = await begin(t);
  const changes = [];
  for (const type of ["lost", "resumed"]) s.addEventListener(type, () => changes.push(type));
  const first = s.call("/a", "x".repeat(1000));
  await turn();
  server.read(100);
  WebSocket.last.drop();
  await turn();
  assert.deepEqual(WebSocket.last.protocols, ["resume.teleport.json"]);
  assert.equal(s.state, "open");
  const second = s.call("/b"); // while there is no connection
  await turn();
  server.resume(WebSocket);
  await turn();
  assert.deepEqual([...server.question.token], [...token]);
  server.read();
  assert.deepEqual(server.messages.map((m) => [m.serviceMethod, m.body?.length]), [["/a", 1000], ["/b", undefined]]);

  const [a, b] = server.messages.map((m) => m.seq);
  const before = server.sent.length;
  server.say({ seq: a, body: "first" }, 7);
  server.say({ seq: b, body: "second" }, 0);
  WebSocket.last.drop();
  await turn();
  server.resume(WebSocket);
  await turn();
  assert.equal(server.question.received, before + 7);
  assert.deepEqual(await Promise.all([first, second]), ["first", "second"]);
  assert.deepEqual(changes, ["lost", "resumed", "lost", "resumed"]);
  assert.deepEqual(closes, []);
});

test("nothing is sent twice: the page goes on behind what the server has", async (t) => {
  const { s, WebSocket, server } = await begin(t);
  for (let i = 0; i < 5; i++) {
    s.push("/note", i);
    await turn();
    server.read(20 * i);
    const { length } = WebSocket.all;
    WebSocket.last.drop();
    while (WebSocket.all.length === length) await turn(); // there is a pause behind a connection that was of no use
    server.resume(WebSocket);
    await turn();
  }
  server.read();
  assert.deepEqual(server.messages.map((m) => m.body), [0, 1, 2, 3, 4]);
});

test("a server that does not have the session: it begins anew", async (t) => {
  const { s, WebSocket, server, closes } = await begin(t, { reconnect: { min: 1, max: 1 } });
  const pending = rejection(s.call("/a"));
  await turn();
  server.read();
  WebSocket.last.drop();
  await turn();
  const other = new Server();
  other.accept(WebSocket.last);
  other.answer({ with: new Uint8Array(16), sent: 1 });
  assert.equal((await pending).code, 102);
  assert.deepEqual(closes, [[1006, "the server does not have the session any more"]]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const fresh = new Server();
  fresh.accept(WebSocket.last);
  assert.deepEqual([...fresh.question.token, fresh.question.sent, fresh.question.received], Array(18).fill(0));
});

test("answers that do not fit end the session", async (t) => {
  for (const [name, answer, reason] of [
    ["another token", { with: token.toReversed() }, "the server has another session"],
    ["a position that was not sent", { received: 1 << 20 }, "the server has received what was not sent"],
    ["a position from before", { received: -1 + 2 ** 48 }, "the server has received what was not sent"],
    ["a position", { with: new Uint8Array(16), sent: 2 }, "the server has no such position in the session"],
    ["a client", { with: new Uint8Array(16), sent: 3 }, "the session belongs to another client"],
    ["a later verdict", { with: new Uint8Array(16), sent: 9 }, "the server refuses for the reason 9"],
  ]) {
    const { WebSocket, server, closes } = await begin(t);
    WebSocket.last.drop();
    await turn();
    server.accept(WebSocket.last);
    server.answer(answer);
    assert.deepEqual(closes, [[1006, reason]], name);
  }
});

test("what is no record or no frame ends the session, and the server gets to know", async (t) => {
  const whole = (bytes) => (server) => server.write(bytes);
  for (const [name, send, code, reason, said = 1002] of [
    ["a text message", (server) => server.ws.deliver("hello"), 1006, /text message/],
    ["a head of nothing", whole(head(0)), 1006, /begins with 0x0,/],
    ["an unknown head", whole(head(0x8003)), 1006, /0x8003/],
    ["bytes behind the end", whole(concat([endRecord, record(new Uint8Array(3))])), 1006, /means nothing here/],
    ["two ends", whole(concat([endRecord, endRecord])), 1006, /0x8001/],
    ["bye without end", whole(byeRecord), 1006, /0x8002/],
    ["an ack of what was not sent", whole(ackRecord(1 << 20)), 1006, /acknowledges what was not sent/],
    ["a masked frame", whole(record(new Uint8Array([0x81, 0x81, 1, 2, 3, 4, 5]))), 1006, /masked/],
    ["a fragment", whole(record(new Uint8Array([0x01, 0x01, 0x20]))), 1006, /fragment/],
    ["a message too large", whole(record(new Uint8Array([0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]))), 4009, /over the limit of 1000/, 1009],
    ["a text message that is not UTF-8", whole(record(frame(TEXT, new Uint8Array([0x7b, 0xff, 0x7d])))), 1006, /^a text message of 3 bytes is not UTF-8$/, 1007],
    ["a close whose reason is not UTF-8", whole(record(frame(CLOSE, new Uint8Array([0x0f, 0xa0, 0x6e, 0xc3])))), 1006, /^the reason of the close 4000 is not UTF-8$/, 1007],
    ["a preamble of something else", undefined, 1006, /does not speak resume/],
  ]) {
    const { WebSocket, server, closes } = await begin(t, { maxMessage: 1000 });
    if (send) send(server);
    else {
      WebSocket.last.drop();
      await turn();
      server.accept(WebSocket.last);
      server.ws.deliver(new ArrayBuffer(32));
    }
    for (let i = 0; i < 100 && closes.length === 0; i++) await turn(); // a close is a task of its own
    assert.equal(closes.length, 1, name);
    assert.equal(closes[0][0], code, name);
    assert.match(closes[0][1], reason, name);
    if (!send) continue;
    assert.equal(server.read().code, said, name);
    assert.deepEqual(server.ends, ["end", "bye"], name);
    assert.equal(server.ws.closedWith.code, 1000, name);
  }
});

test("what the server has not acknowledged is bounded, and so is what it may send", async (t) => {
  const size = 128 << 10;
  const { s, server } = await begin(t, {}, { buffer: size });
  for (let i = 0; i < 10; i++) s.push("/note", "x".repeat(100_000));
  await turn();
  server.read();
  assert.ok(server.received > size - 100 && server.received <= size + 4096, `${server.received} bytes`);
  for (let acked = 0; acked < server.received; server.read()) {
    server.write(ackRecord((acked = server.received)));
    await turn();
  }
  assert.equal(server.messages.length, 10);

  server.acks.length = 0;
  for (let i = 0; i < 10; i++) server.say({ serviceMethod: "/none", body: "x".repeat(10_000) });
  await turn();
  server.read();
  assert.ok(server.acks.at(-1) > server.sent.length - (32 << 10), `${server.acks} of ${server.sent.length}`);

  const many = Array.from({ length: 20 }, () => record(frame(TEXT, JSON.stringify({ serviceMethod: "/none", body: "x".repeat(10_000) }))));
  server.write(concat(many)); // of which one is delivered at once
  server.read();
  assert.ok(server.acks.at(-1) < server.sent.length - 180_000, "what was not delivered is acknowledged");
  while (server.acks.at(-1) < server.sent.length - (32 << 10)) {
    await turn();
    server.read();
  }
});

test("connections that are of no use are made after pauses that grow", async (t) => {
  const tick = clock(t);
  const { WebSocket, server } = await begin(t);
  const before = WebSocket.all.length;
  for (let ms = 0; ms < 5000; ms += 10) {
    if (WebSocket.last.readyState === 0) {
      server.resume(WebSocket);
      await turn();
      WebSocket.last.drop();
    } else if (WebSocket.last.readyState === 1) {
      WebSocket.last.drop();
    }
    await tick(10);
  }
  const n = WebSocket.all.length - before;
  assert.ok(n >= 4 && n < 40, `${n} connections in 5 s`);
});

test("a window without a connection ends the session as a broken connection does", async (t) => {
  const tick = clock(t);
  const { s, WebSocket, closes } = await begin(t, { reconnect: false }, { window: 5000 });
  const pending = rejection(s.call("/a"));
  await turn();
  for (let ms = 0; ms < 4900; ms += 100) {
    if (WebSocket.last.readyState !== 3 && ms < 3000) WebSocket.last.drop();
    await tick(100);
  }
  assert.deepEqual(closes, []);
  await tick(100);
  assert.deepEqual(closes, [[1006, "no connection for 5000 ms: 1006 "]]);
  assert.equal((await pending).code, 102);
  assert.ok(WebSocket.all.length > 4 && WebSocket.all.length < 40, `${WebSocket.all.length} connections in 5 s`);
  assert.equal(WebSocket.last.closedWith.code, 1000, "the attempt under way is given up");
});

test("a connection that is silent is replaced; the page says that it is alive", async (t) => {
  const tick = clock(t);
  const { WebSocket, server, closes } = await begin(t, {}, { keepAlive: 1000, idleTimeout: 3000 });
  await turn();
  server.read();
  server.acks.length = 0;
  for (let i = 0; i < 10; i++) {
    await tick(1000);
    server.write(ackRecord(server.received));
    server.read();
  }
  assert.equal(WebSocket.all.length, 1);
  assert.equal(server.acks.length, 10);
  await tick(3000);
  assert.equal(WebSocket.all.length, 2, "nothing has come for 3 s");
  server.resume(WebSocket);
  await turn();
  assert.deepEqual(closes, []);
  assert.equal(WebSocket.all[0].closedWith.code, 4008);
});

test("a URL that comes, or fails, when another attempt has succeeded does not matter", async (t) => {
  for (const late of ["fails", "comes"]) {
    const tick = clock(t);
    const urls = [];
    const WebSocket = fakeWebSocket();
    const url = () => new Promise((resolve, reject) => urls.push({ comes: () => resolve("ws://example.org/ws"), fails: () => reject(new Error("no token")) }));
    const s = connect(url, { WebSocket, resume: resume() });
    t.after(() => s.close());
    urls[0].comes();
    await turn();
    const server = new Server();
    server.accept(WebSocket.last);
    server.answer();
    await turn();
    let lost = 0;
    s.addEventListener("lost", () => lost++);
    WebSocket.last.drop();
    await tick(10_000); // so long it may take
    await tick(2000);
    urls[2].comes();
    await turn();
    server.resume(WebSocket);
    await turn();
    urls[1][late]();
    await tick(2000);
    assert.equal(lost, 1, late);
    assert.equal(WebSocket.all.length, 2, late);
    assert.equal(urls.length, 3, late);
    t.mock.timers.reset();
    t.mock.restoreAll();
  }
});

test("no timer outlives the session: of an attempt that has failed, and of a close", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0.999);
  const WebSocket = fakeWebSocket();
  let urls = 0;
  const s = connect(() => (urls++, "ws://example.org/ws"), { WebSocket, reconnect: false, resume: resume({ window: 10_010 }) });
  await turn();
  const server = new Server();
  server.accept(WebSocket.last);
  server.answer();
  await turn();
  WebSocket.last.drop();
  await tick(9950); // of the 10 s that an attempt may take
  WebSocket.last.drop();
  await tick(50);
  await tick(15);
  assert.equal(s.state, "closed");
  const { length } = WebSocket.all;
  const before = urls;
  for (let i = 0; i < 60; i++) await tick(1000);
  assert.equal(urls, before);
  assert.equal(WebSocket.all.length, length);

  const timers = new Set();
  const [start, stop] = [globalThis.setTimeout, globalThis.clearTimeout];
  t.mock.method(globalThis, "setTimeout", (run, ms) => {
    const timer = start(() => (timers.delete(timer), run()), ms);
    timers.add(timer);
    return timer;
  });
  t.mock.method(globalThis, "clearTimeout", (timer) => (timers.delete(timer), stop(timer)));
  const other = await begin(t);
  other.s.close();
  await turn();
  other.server.read();
  other.server.write(ackRecord(other.server.received));
  assert.equal(timers.size, 0);
});

test("times without end are as long as a timer can be", async (t) => {
  const longest = 2 ** 31 - 1; // beyond that a timer fires at once
  const delays = [];
  for (const name of ["setTimeout", "setInterval"]) {
    const start = globalThis[name];
    t.mock.method(globalThis, name, (run, ms) => (delays.push(ms), start(run, Math.min(ms, longest))));
  }
  const { WebSocket, closes } = await begin(t, {}, { window: Infinity, keepAlive: 2 ** 40, idleTimeout: Infinity });
  WebSocket.last.drop();
  await turn();
  assert.deepEqual(closes, []);
  assert.ok(Math.max(...delays) === longest, `${delays}`);
});

test("a heartbeat does not end a session that waits for a connection", async (t) => {
  const tick = clock(t);
  const { WebSocket, server, closes } = await begin(t, { heartbeat: 1000 }, { window: 10_000 });
  WebSocket.last.drop();
  for (let i = 0; i < 8; i++) await tick(1000);
  assert.deepEqual(closes, []);
  server.resume(WebSocket);
  await tick(0);
  server.read();
  assert.ok(server.messages.every((m) => m.serviceMethod === "/heartbeat") && server.messages.length > 0);
  await tick(2000);
  assert.deepEqual(closes, [[1006, "no sign of life for 1000 ms"]], "now there is a connection, and no answer");
});

test("each message is a task: what awaits a reply goes on before the push behind it", async (t) => {
  const { s, server } = await begin(t);
  const order = [];
  s.handle("/heard", () => order.push("push"));
  const done = s.call("/enter").then(async () => {
    for (let i = 0; i < 5; i++) await undefined;
    order.push("reply");
  });
  await turn();
  const { seq } = server.read();
  const heard = frame(TEXT, JSON.stringify({ serviceMethod: "/heard" }));
  server.write(concat([record(concat([frame(TEXT, JSON.stringify({ seq, body: 1 })), heard, heard])), ackRecord(server.received)]));
  await done;
  while (order.length < 3) await turn();
  assert.deepEqual(order, ["reply", "push", "push"]);
});

test("the close is a task of its own: a refusal before it keeps its reason", async (t) => {
  const { s, WebSocket } = await session(t, { resume: resume(), setup: (first) => first.auth("guess") }, false);
  const server = new Server();
  server.accept(WebSocket.last);
  server.answer();
  await turn();
  const { seq } = server.read();
  server.say({ seq, mtype: 5, error: { code: 401, message: "Unauthorized", reason: "wrong password" } });
  server.write(record(closeFrame(1008, "401 Unauthorized"))); // Node and Deno read both from one packet
  WebSocket.last.drop(1000);
  const err = await rejection(s.ready);
  assert.deepEqual([err.code, err.reason, WebSocket.all.length], [401, "wrong password", 1]);
});

test("closing by the page, and by the server", async (t) => {
  const page = await begin(t);
  page.s.push("/last");
  page.s.close(3456, "done é");
  await turn();
  page.server.read();
  assert.deepEqual(page.server.messages.map((m) => m.serviceMethod ?? [m.code, m.reason]), ["/last", [3456, "done é"]]);
  assert.deepEqual(page.server.ends, ["end", "bye"]);
  page.server.write(ackRecord(page.server.received));
  assert.equal(page.server.ws.closedWith.code, 1000);

  const other = await begin(t);
  other.server.write(concat([record(closeFrame(1008, "403 Forbidden")), endRecord, byeRecord]));
  const { code, error } = await other.s.closed;
  assert.deepEqual([code, error.code, error.message], [1008, 403, "Forbidden"]);
  other.server.read();
  assert.deepEqual(other.server.ends, ["end", "bye"]);
});

test("a page that has closed sends on while the server receives, and no longer than the window", async (t) => {
  const tick = clock(t);
  const { s, server } = await begin(t, {}, { window: 5000 });
  await tick(0);
  server.read();
  s.push("/last", "x".repeat(1000));
  s.close();
  await tick(0);
  let acked = server.received; // the server receives one byte a second
  for (let ms = 0; ms < 5000; ms += 1000) {
    await tick(1000);
    assert.equal(server.ws.closedWith, undefined, `after ${ms + 1000} ms`);
    server.write(ackRecord(++acked));
  }
  await tick(1500);
  assert.equal(server.ws.closedWith.code, 1000);
});

test("a page that has closed ends after the grace if the server receives no more", async (t) => {
  const tick = clock(t);
  const { s, server } = await begin(t);
  s.close();
  await tick(1499);
  assert.equal(server.ws.closedWith, undefined);
  await tick(1);
  assert.equal(server.ws.closedWith.code, 1000);
});

test("a server without streams: sessions are as without resume", async (t) => {
  const { s, WebSocket } = await session(t, { resume: resume() }, false);
  WebSocket.last.accept("teleport.json");
  await turn();
  const call = s.call("/a");
  await turn();
  assert.equal(s.protocol, json.name);
  WebSocket.last.deliver({ seq: WebSocket.last.messages[0].seq, body: 7 });
  assert.equal(await call, 7);
  const pending = rejection(s.call("/b"));
  WebSocket.last.drop();
  assert.equal((await pending).code, 102);
  assert.equal(s.state, "waiting");
});

test("options that cannot work", () => {
  assert.throws(() => resume({ buffer: 1000 }), /buffer is 1000: want at least 131072 bytes/);
  assert.throws(() => resume({ window: 0 }), /window is 0/);
  assert.throws(() => resume({ windows: 1 }), /there is no option windows/);
});
