// What a session serves, and what it makes of messages that are none.

import assert from "node:assert/strict";
import test from "node:test";
import { TeleportError } from "../teleport.js";
import { clock, session, turn } from "./fake.mjs";

// answer delivers a message and returns the reply.
async function answer(WebSocket, message) {
  WebSocket.last.deliver(message);
  await turn();
  return WebSocket.last.messages.at(-1);
}

test("a handler's result is the reply", async (t) => {
  const { WebSocket } = await session(t, {
    routes: { "/add": async (body) => body[0] + body[1], "/nothing": () => {} },
  });
  assert.deepEqual(await answer(WebSocket, { seq: 7, serviceMethod: "/add", body: [1, 2] }), { seq: 7, body: 3 });
  assert.deepEqual(await answer(WebSocket, { seq: -1, mtype: 1, serviceMethod: "/nothing" }), { seq: -1, body: null });
});

test("a handler gets the query and metadata, and gives metadata", async (t) => {
  const { s, WebSocket } = await session(t);
  s.handle("/q", (_, ctx) => {
    assert.equal(ctx.session, s);
    assert.equal(ctx.isCall, true);
    ctx.replyMeta.set("k", "v w");
    return [ctx.route, ctx.query.get("author"), ctx.meta.getAll("a")];
  });
  assert.deepEqual(await answer(WebSocket, { seq: 1, serviceMethod: "/q?author=ann?", meta: { a: ["1", "2"] } }), {
    seq: 1,
    meta: { k: "v w" },
    body: ["/q", "ann?", ["1", "2"]],
  });
});

test("what a handler throws is the error", async (t) => {
  const { WebSocket, warnings } = await session(t, {
    routes: {
      "/own": () => {
        throw new TeleportError(1001, "sold out", "shelf 7");
      },
      "/bug": async () => null.x,
      "/circle": () => {
        const a = [];
        return a.concat([a], (a[0] = a));
      },
    },
  });
  assert.deepEqual(await answer(WebSocket, { seq: 1, serviceMethod: "/own" }), {
    seq: 1,
    error: { code: 1001, message: "sold out", reason: "shelf 7" },
  });
  assert.equal(warnings.length, 0);
  const bug = await answer(WebSocket, { seq: 2, serviceMethod: "/bug" });
  assert.deepEqual([bug.seq, bug.error.code, bug.error.message], [2, 500, "Internal Server Error"]);
  assert.match(bug.error.reason, /null/);
  assert.match(warnings[0], /teleport: \/bug: TypeError/);
  const circle = await answer(WebSocket, { seq: 3, serviceMethod: "/circle" });
  assert.equal(circle.error.code, 500);
  assert.match(circle.error.reason, /the reply cannot be sent: .*circular/i);
});

test("unknown routes: a call gets 404, a push a line", async (t) => {
  const { WebSocket, warnings } = await session(t);
  assert.deepEqual(await answer(WebSocket, { seq: 4, serviceMethod: "/none" }), {
    seq: 4,
    error: { code: 404, message: "Not Found", reason: "/none" },
  });
  WebSocket.last.deliver({ serviceMethod: "/nowhere", body: 1 });
  await turn();
  assert.equal(WebSocket.last.sent.length, 1);
  assert.match(warnings[0], /\/nowhere: TeleportError: 404/);
});

test("pushes are not answered", async (t) => {
  const got = [];
  const { WebSocket } = await session(t, { routes: { "/note": (body, ctx) => got.push([body, ctx.isCall]) } });
  WebSocket.last.deliver({ serviceMethod: "/note", body: "hi" });
  await turn();
  assert.deepEqual(got, [["hi", false]]);
  assert.equal(WebSocket.last.sent.length, 0);
});

test("a body that cannot be read is 400 to a call, and a line for a push", async (t) => {
  const { s, WebSocket, warnings } = await session(t, { routes: { "/x": () => 1 } });
  const bad = { serviceMethod: "/x", bodyCodec: 106, body: "{" };
  const { error } = await answer(WebSocket, { seq: 1, ...bad });
  assert.deepEqual([error.code, /JSON/.test(error.reason)], [400, true]);
  WebSocket.last.deliver(bad);
  await turn();
  assert.match(warnings[0], /\/x: TeleportError: 400/);
  s.handle("/bytes", (body) => [...body], { bytes: true });
  assert.deepEqual((await answer(WebSocket, { seq: 2, ...bad, serviceMethod: "/bytes" })).body, [123]);
});

test("a route has one handler, which can be removed", async (t) => {
  const { s, WebSocket } = await session(t);
  const remove = s.handle("/x", () => 1);
  assert.throws(() => s.handle("/x", () => 2), /has a handler already/);
  remove();
  s.handle("/x", () => 3);
  remove(); // it has gone already
  assert.equal((await answer(WebSocket, { seq: 1, serviceMethod: "/x" })).body, 3);
});

test("a session answers /heartbeat, unless it has a handler of its own", async (t) => {
  const { s, WebSocket } = await session(t);
  assert.deepEqual(await answer(WebSocket, { seq: 1, serviceMethod: "/heartbeat", meta: "hb_=3" }), { seq: 1, body: null });
  s.handle("/heartbeat", () => "own");
  assert.equal((await answer(WebSocket, { seq: 2, serviceMethod: "/heartbeat" })).body, "own");
});

test("the signal of a handler: the caller's deadline, and the end of the connection", async (t) => {
  const tick = clock(t);
  const signals = [];
  const { WebSocket } = await session(t, { routes: { "/x": (_, ctx) => new Promise(() => signals.push(ctx.signal)) } });
  WebSocket.last.deliver({ seq: 1, serviceMethod: "/x" });
  WebSocket.last.deliver({ seq: 2, serviceMethod: "/x", meta: "X-Timeout=20" });
  await turn();
  assert.deepEqual(signals.map((s) => s.aborted), [false, false]);
  await tick(20);
  assert.deepEqual(signals.map((s) => s.aborted), [false, true]);
  assert.equal(signals[1].reason.code, 408);
  WebSocket.last.drop();
  assert.deepEqual([signals[0].aborted, signals[0].reason.code], [true, 102]);
});

test("a signal that is asked for late, and one that is kept", async (t) => {
  const tick = clock(t);
  let kept, late;
  let finish;
  const { WebSocket } = await session(t, {
    routes: {
      "/kept": (_, ctx) => void (kept = ctx.signal),
      "/late": async (_, ctx) => {
        await new Promise((resolve) => (finish = resolve));
        late = ctx.signal;
      },
    },
  });
  await answer(WebSocket, { seq: 1, serviceMethod: "/kept", meta: { "X-Timeout": "20" } });
  await tick(20);
  assert.equal(kept.aborted, false, "its handler is done");
  WebSocket.last.deliver({ seq: 2, serviceMethod: "/late" });
  await turn();
  WebSocket.last.drop();
  finish();
  await turn();
  assert.equal(kept.aborted, false);
  assert.equal(late.aborted, true);
});

test("the reply of a handler whose connection has ended goes nowhere", async (t) => {
  const tick = clock(t);
  t.mock.method(Math, "random", () => 0);
  let finish;
  const { WebSocket } = await session(t, { routes: { "/x": () => new Promise((resolve) => (finish = resolve)) } });
  WebSocket.last.deliver({ seq: 1, serviceMethod: "/x" });
  await turn();
  WebSocket.last.drop();
  await tick(0);
  WebSocket.last.accept();
  finish("late");
  await turn();
  assert.deepEqual(WebSocket.all.map((ws) => ws.sent.length), [0, 0]);
});

test("what is no message is dropped with a line, and the session goes on", async (t) => {
  const { s, WebSocket, warnings } = await session(t);
  const call = s.call("/x");
  const garbage = [
    ["{", /dropped: .*JSON/],
    ["[]", /no JSON object/],
    ["null", /no JSON object/],
    [new ArrayBuffer(3), /3 bytes in a binary frame/],
    [{ seq: 1.5, body: 1 }, /its seq is no 32-bit integer/],
    [{ seq: 2 ** 31, body: 1 }, /its seq/],
    [{ seq: "1", body: 1 }, /its seq/],
    [{ seq: 1, serviceMethod: 5 }, /its serviceMethod is no string/],
    [{ seq: 1, meta: 5 }, /its meta is no object/],
    [{ seq: 1, mtype: 9 }, /unknown type 9/],
    [{ seq: 1, mtype: "1" }, /unknown type 1/],
  ];
  for (const [data, want] of garbage) {
    WebSocket.last.deliver(data);
    assert.match(warnings.pop() ?? "", want);
  }
  WebSocket.last.deliver({ seq: 99, body: "of no call" });
  WebSocket.last.deliver({ seq: 1, body: "fine" });
  assert.equal(await call, "fine");
  assert.deepEqual(warnings, []);
});

test("an AUTH_CALL is refused with 405, a CONTROL of an unknown verb is dropped", async (t) => {
  const { WebSocket, warnings } = await session(t);
  const reply = await answer(WebSocket, { seq: 1, mtype: 4, body: "token" });
  assert.deepEqual(reply, { seq: 1, mtype: 5, error: { code: 405, message: "Message Type Not Allowed" } });
  WebSocket.last.deliver({ mtype: 6, serviceMethod: "new" });
  assert.deepEqual(warnings, []);
});
