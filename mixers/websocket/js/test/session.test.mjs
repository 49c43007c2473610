// A session over several connections: how it connects, ends, and connects again.

import assert from "node:assert/strict";
import test from "node:test";
import { Connection } from "../connection.js";
import { TeleportError, connect } from "../teleport.js";
import { clock, fakeWebSocket, rejection, session, turn } from "./fake.mjs";

// record keeps the events of a session as texts.
function record(s) {
  const events = [];
  s.addEventListener("open", (e) => events.push(`open ${e.protocol}${e.reconnected ? " again" : ""}`));
  s.addEventListener("close", (e) => events.push(`close ${e.code} ${e.reason}${e.final ? " for good" : ""}`));
  s.addEventListener("reconnect", (e) => events.push(`attempt ${e.attempt} in ${e.delay}`));
  return events;
}

test("it connects again after a break, and calls that were made meanwhile are sent", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0.5);
  const { s, WebSocket } = await session(t);
  const events = record(s);
  assert.equal(await s.ready, s);
  const pending = rejection(s.call("/pending"));
  WebSocket.last.drop(1006);
  const err = await pending;
  assert.deepEqual([err.code, err.notRun, s.state], [102, false, "waiting"]);
  assert.match(err.reason, /the connection has ended: 1006/);

  const call = s.call("/waits");
  await tick(249);
  assert.equal(WebSocket.all.length, 1);
  await tick(1);
  assert.equal(WebSocket.all.length, 2);
  assert.equal(s.state, "connecting");
  WebSocket.last.accept();
  await turn();
  assert.equal(s.state, "open");
  assert.equal(s.protocol, "teleport.json");
  WebSocket.last.deliver({ seq: WebSocket.last.messages[0].seq, body: "now" });
  assert.equal(await call, "now");
  assert.deepEqual(events, ["close 1006 ", "attempt 1 in 250", "open teleport.json again"]);
});

test("the back-off grows to its maximum, and begins anew after a connection that lasted", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 1);
  const { s, WebSocket } = await session(t, { reconnect: { min: 100, max: 450 } }, false);
  const delays = [];
  s.addEventListener("reconnect", (e) => delays.push(e.delay));
  for (let i = 0; i < 4; i++) {
    WebSocket.last.drop();
    await tick(450);
  }
  WebSocket.last.accept(); // does not last
  await turn();
  WebSocket.last.drop();
  await tick(450);
  assert.deepEqual(delays, [100, 200, 400, 450, 450]);
  WebSocket.last.accept();
  await turn();
  await tick(6000);
  WebSocket.last.drop();
  assert.equal(delays.at(-1), 100);
});

test("full jitter: the pause is anything from nothing to its bound", async (t) => {
  const tick = clock(t);
  const random = t.mock.method(Math, "random", () => 0);
  const { s, WebSocket } = await session(t, {}, false);
  const delays = [];
  s.addEventListener("reconnect", (e) => delays.push(e.delay));
  WebSocket.last.drop();
  await tick(0);
  random.mock.mockImplementation(() => 0.999);
  WebSocket.last.drop();
  assert.deepEqual(delays, [0, 999]);
});

test("codes that end the session: it does not connect again", async (t) => {
  for (const [code, again] of [
    [1000, false], [1001, true], [1002, false], [1005, true], [1006, true], [1007, false], [1008, false], [1009, true],
    [1011, true], [1012, true], [1013, true], [4000, true],
  ]) {
    const { s, WebSocket } = await session(t);
    const waiting = rejection(s.call("/x"));
    WebSocket.last.drop(code, "words");
    assert.equal(s.state, again ? "waiting" : "closed", `after ${code}`);
    assert.match((await waiting).reason, new RegExp(`${code} words`));
    if (again) s.close();
    else {
      const { code: got, reason, wasClean } = await s.closed;
      assert.deepEqual([got, reason, wasClean], [code, "words", true]);
      const err = await rejection(s.call("/later"));
      assert.deepEqual([err.code, err.notRun], [102, true]);
    }
  }
});

test("a break without a code is 1006", async (t) => {
  const { s, WebSocket } = await session(t, { reconnect: false });
  WebSocket.last.drop(0);
  assert.equal((await s.closed).code, 1006);
});

test("a refusal with an error: for good if it is 401, 403 or 409", async (t) => {
  for (const [reason, again, want] of [
    ["403 Forbidden", false, [403, "Forbidden"]],
    ["409 ", false, [409, ""]],
    ["429 Too Many Requests", true, [429, "Too Many Requests"]],
    ["-1", true, [-1, ""]],
    ["go away", false, undefined],
  ]) {
    const { s, WebSocket } = await session(t);
    let error;
    s.addEventListener("close", (e) => (error = e.error && [e.error.code, e.error.message]));
    WebSocket.last.drop(1008, reason);
    assert.deepEqual([s.state, error], [again ? "waiting" : "closed", want], reason);
  }
});

test("when, attempts and false bound the reconnects", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0);
  const when = await session(t, { reconnect: { when: ({ code }) => code !== 4100 } });
  when.WebSocket.last.drop(4100);
  assert.equal(when.s.state, "closed");

  const two = await session(t, { reconnect: { attempts: 2 } }, false);
  for (let i = 0; i < 3; i++) {
    assert.equal(two.s.state, "connecting");
    two.WebSocket.last.drop();
    await tick(0);
  }
  assert.equal(two.s.state, "closed");
  assert.equal(two.WebSocket.all.length, 3);
  const err = await rejection(two.s.ready);
  assert.deepEqual([err.code, err.notRun], [105, true]);

  const never = await session(t, { reconnect: false });
  never.WebSocket.last.drop();
  assert.equal(never.s.state, "closed");
});

test("close ends everything, once", async (t) => {
  const { s, WebSocket } = await session(t);
  const events = record(s);
  const pending = rejection(s.call("/x"));
  assert.throws(() => s.close(1001), /1001/);
  assert.equal(s.state, "open");
  s.close(3001, "é".repeat(100));
  assert.equal(s.state, "closed");
  assert.deepEqual(WebSocket.last.closedWith, { code: 3001, reason: "é".repeat(61) });
  assert.deepEqual([(await pending).code, (await pending).reason], [102, "this side closed the session"]);
  assert.equal((await s.close()).code, 3001);
  WebSocket.last.drop(1000); // the answer of the server is of no interest
  assert.equal(events.length, 1);
  assert.equal((await rejection(s.push("/x"))).code, 102);
});

test("close while it waits for the next attempt, and while the URL is made", async (t) => {
  const tick = clock(t);
  const { s, WebSocket } = await session(t);
  WebSocket.last.drop();
  const waiting = rejection(s.call("/x"));
  s.close();
  assert.equal((await waiting).code, 102);
  await tick(60_000);
  assert.equal(WebSocket.all.length, 1);

  let give;
  const late = connect(() => new Promise((resolve) => (give = resolve)), { WebSocket });
  await turn();
  late.close();
  give("ws://example.org/");
  await turn();
  assert.equal(WebSocket.all.length, 1);
});

test("a URL may be made for each connection", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0);
  const WebSocket = fakeWebSocket();
  let n = 0;
  const urls = async () => {
    if (++n === 2) throw new Error("no token");
    return `https://example.org/ws?token=${n}#x`;
  };
  const s = connect(urls, { WebSocket });
  t.after(() => s.close());
  await turn();
  WebSocket.last.drop();
  await tick(0); // the second fails
  const events = record(s);
  await tick(0);
  await turn();
  assert.deepEqual(WebSocket.all.map((ws) => ws.url), ["wss://example.org/ws?token=1", "wss://example.org/ws?token=3"]);
  assert.deepEqual(events, []);
});

test("an attempt that takes too long is given up", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0);
  const { s, WebSocket } = await session(t, { connectTimeout: 100 }, false);
  const [first] = WebSocket.all;
  await tick(100);
  await tick(0);
  assert.equal(WebSocket.all.length, 2);
  first.accept(); // too late
  await turn();
  assert.equal(s.state, "connecting");
  WebSocket.last.accept();
  await turn();
  await tick(1000);
  assert.equal(s.state, "open", "an open one is not given up");
});

test("a server that speaks none of the sub-protocols", async (t) => {
  const { s, WebSocket } = await session(t, {}, false);
  assert.deepEqual(WebSocket.last.protocols, ["teleport.json"]);
  WebSocket.last.accept("");
  const err = await rejection(s.ready);
  assert.deepEqual([err.code, err.reason], [105, "the server speaks none of teleport.json"]);
  assert.equal(s.state, "closed");
});

test("a page that may not connect at all", async (t) => {
  class Forbidden extends fakeWebSocket() {
    constructor() {
      throw new DOMException("insecure", "SecurityError");
    }
  }
  const { s } = await session(t, { WebSocket: Forbidden }, false);
  assert.equal((await rejection(s.ready)).reason, "insecure");
});

test("setup runs on each connection before what waits", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0);
  const { s, WebSocket } = await session(t, {
    setup: async (first) => {
      await first.auth("token");
      await first.call("/join", "tea");
      await first.push("/hello");
    },
  }, false);
  const said = s.call("/say", "hi");
  for (let n = 0; n < 2; n++) {
    WebSocket.last.accept();
    await turn();
    assert.deepEqual(WebSocket.last.messages.map((m) => m.mtype ?? m.serviceMethod), [4]);
    assert.equal(WebSocket.last.messages[0].body, "token");
    WebSocket.last.deliver({ seq: WebSocket.last.messages[0].seq, mtype: 5, body: "welcome" });
    await turn();
    WebSocket.last.deliver({ seq: WebSocket.last.find({ serviceMethod: "/join" }).seq, body: 1 });
    await turn();
    assert.equal(s.state, "open");
    const routes = WebSocket.last.messages.map((m) => m.serviceMethod);
    assert.deepEqual(routes.slice(1), n === 0 ? ["/join", "/hello", "/say"] : ["/join", "/hello"]);
    if (n === 0) WebSocket.last.deliver({ seq: WebSocket.last.find({ serviceMethod: "/say" }).seq, body: null });
    if (n === 0) WebSocket.last.drop();
    await tick(0);
  }
  await said;
});

test("a setup that fails: again, but not after 401, 403 and 409", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0);
  let fail = new Error("odd");
  const { s, WebSocket, warnings } = await session(t, { setup: () => Promise.reject(fail) });
  assert.equal(s.state, "waiting");
  assert.equal(WebSocket.last.closedWith.code, 4000);
  assert.match(warnings[0], /odd/);
  fail = new TeleportError(401, undefined, "bad token");
  await tick(0);
  WebSocket.last.accept();
  await turn();
  assert.equal(s.state, "closed");
  assert.equal(await rejection(s.ready), fail);
  assert.equal((await s.closed).error, fail);
});

test("a connection that breaks during setup ends the setup's calls", async (t) => {
  let failed;
  const { s, WebSocket } = await session(t, {
    setup: async (first) => {
      failed = await rejection(first.call("/join"));
      failed = [failed, await rejection(first.call("/again"))];
    },
  });
  WebSocket.last.drop(1001);
  await turn();
  assert.deepEqual(failed.map((err) => [err.code, err.notRun]), [[102, false], [102, true]]);
  assert.equal(s.state, "waiting");
});

test("an online event ends the pause", async (t) => {
  const target = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) {
    globalThis[name] = target[name].bind(target);
    t.after(() => delete globalThis[name]);
  }
  clock(t);
  const { s, WebSocket } = await session(t);
  WebSocket.last.drop();
  target.dispatchEvent(new Event("online"));
  await turn();
  assert.equal(WebSocket.all.length, 2);
  target.dispatchEvent(new Event("online"));
  await turn();
  assert.equal(WebSocket.all.length, 2, "not while it connects");
  const removed = t.mock.fn();
  globalThis.removeEventListener = removed;
  s.close();
  assert.equal(removed.mock.calls[0].arguments[0], "online");
});

test("heartbeat: any answer is a sign of life, silence ends the connection", async (t) => {
  const tick = clock(t);
  const { s, WebSocket } = await session(t, { heartbeat: 2000 });
  const events = record(s);
  await tick(2000);
  const beat = WebSocket.last.find({ serviceMethod: "/heartbeat" });
  assert.deepEqual(beat.meta, { hb_: "2", "X-Timeout": "2000" });
  WebSocket.last.deliver({ seq: beat.seq, error: { code: 404 } });
  await tick(2000);
  WebSocket.last.deliver({ serviceMethod: "/other/traffic" });
  await tick(2000);
  assert.equal(s.state, "open");
  await tick(2000);
  await turn();
  assert.equal(s.state, "waiting");
  assert.match(events[0], /no sign of life for 2000 ms/);
});

test("heartbeat: one that is longer than a timer can be does not come at once", async (t) => {
  const tick = clock(t);
  const { WebSocket } = await session(t, { heartbeat: Infinity });
  await tick(1000);
  assert.equal(WebSocket.last.find({ serviceMethod: "/heartbeat" }), undefined);
});

test("a message that is too large ends the connection", async (t) => {
  const { s, WebSocket } = await session(t, { maxMessage: 100 });
  const pending = rejection(s.call("/x"));
  WebSocket.last.deliver({ seq: 1, body: "é".repeat(50) }); // two bytes each
  assert.equal(WebSocket.last.closedWith.code, 4009);
  assert.match((await pending).reason, /a message of 119 bytes is over the limit of 100/);
  assert.equal(s.state, "waiting");
});

test("which calls have not run, after a goodbye", () => {
  for (const [n, seq, want] of [
    ["0", 1, true], ["0", 2 ** 31 - 1, true],
    ["5", 5, false], ["5", 6, true], ["5", 4, false], ["5", 5 + 2 ** 30, false],
    [`${2 ** 31 - 1}`, 1, true], [`${2 ** 31 - 1}`, 2 ** 31 - 2, false],
    ["x", 1, false], [undefined, 1, false],
  ]) {
    const connection = new Connection({});
    connection.goodbye(new URLSearchParams(n === undefined ? "" : { n }));
    assert.equal(connection.notRun(seq), want, `call ${seq} after n=${n}`);
  }
});

test("what the server says before it closes", async (t) => {
  const { s, WebSocket } = await session(t);
  const calls = [1, 2, 3].map(() => rejection(s.call("/x")));
  WebSocket.last.deliver({ mtype: 6, serviceMethod: "bye", meta: "n=1" });
  WebSocket.last.drop(1001);
  assert.deepEqual((await Promise.all(calls)).map((err) => err.notRun), [false, true, true]);

  const other = await session(t);
  const all = rejection(other.s.call("/x"));
  other.WebSocket.last.deliver({ mtype: 6, serviceMethod: "bye", meta: "n=0&code=409&message=Conflict&reason=id%20taken" });
  other.WebSocket.last.drop(1001);
  assert.equal((await all).notRun, true);
  const { error } = await other.s.closed;
  assert.deepEqual([error.code, error.message, error.reason], [409, "Conflict", "id taken"]);
});
