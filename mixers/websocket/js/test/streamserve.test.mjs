// Streams that the server opens, and calls that it cancels.

import assert from "node:assert/strict";
import test from "node:test";
import { TeleportError } from "../teleport.js";
import { clock, rejection, session, turn } from "./fake.mjs";

const hello = { mtype: 6, serviceMethod: "hello", meta: { v: "1", f: "cancel,stream", w: "1000" } };

/** A session with a handler of streams; the server has said hello, and opens number 5. */
async function serve(t, handler, options = {}, call = {}) {
  const { s, WebSocket, warnings } = await session(t, { streams: { "/chat": handler }, ...options });
  const ws = WebSocket.last;
  const deliver = async (...messages) => {
    for (const message of messages) ws.deliver(message);
    await turn();
  };
  await deliver(hello, { seq: 5, serviceMethod: "/chat?room=tea", meta: { "X-Stream": "1000", k: "v" }, body: "first", ...call });
  const data = (body) => deliver({ seq: 5, mtype: 7, body });
  const control = (serviceMethod, meta, seq = 5) => deliver({ seq, mtype: 6, serviceMethod, meta });
  return { s, ws, warnings, deliver, data, control };
}

test("a page that serves streams says hello when it is open, behind its setup", async (t) => {
  const { WebSocket } = await session(t, { streams: { "/chat": () => {} }, setup: (first) => first.push("/enter") });
  assert.deepEqual(WebSocket.last.messages.map((m) => m.serviceMethod), ["/enter", "hello"]);
});

test("a handler that comes later says hello too, once", async (t) => {
  const { s, WebSocket } = await session(t);
  assert.equal(WebSocket.last.sent.length, 0);
  const remove = s.handleStream("/a", () => {});
  s.handleStream("/b", () => {});
  assert.deepEqual(WebSocket.last.messages.map((m) => m.serviceMethod), ["hello"]);
  assert.throws(() => s.handle("/a", () => {}), /handle \/a: it has a handler already/);
  assert.throws(() => s.handleStream("/c"), /handleStream \/c: the handler is no function/);
  remove();
  s.handle("/a", () => {});
});

test("a stream is served until its handler returns", async (t) => {
  const { ws, data, control } = await serve(t, async (ctx, stream) => {
    assert.deepEqual([ctx.route, ctx.query.get("room"), ctx.meta.get("k"), ctx.body, ctx.isCall], ["/chat", "tea", "v", "first", true]);
    for await (const message of stream) await stream.send(`re: ${message}`);
    ctx.replyMeta.set("n", "2");
  }, { streamWindow: 1000 });
  const at = ws.sent.length;
  await data("a");
  await data("b");
  await control("end");
  assert.deepEqual(ws.messages.slice(at), [
    { seq: -5, mtype: 7, body: "re: a" },
    { seq: -5, mtype: 7, body: "re: b" },
    { seq: 5, meta: { n: "2", "X-Stream": "2" }, body: null },
  ]);
  const n = ws.sent.length;
  await data("late");
  assert.equal(ws.sent.length, n);
});

test("the end of a handler is that of its stream", async (t) => {
  let kept;
  const { ws } = await serve(t, (_, stream) => {
    kept = stream;
    throw new TeleportError(1001, "sold out");
  });
  assert.deepEqual(ws.messages.at(-1), { seq: 5, meta: { "X-Stream": "0" }, error: { code: 1001, message: "sold out" } });
  assert.equal((await rejection(kept.send("late"))).code, 1);
  assert.equal((await kept.next()).done, true);
  await kept.closed;
});

test("a handler that leaves its loop may send on", async (t) => {
  const { ws, data } = await serve(t, async (_, stream) => {
    for await (const message of stream) break;
    await stream.send("thanks");
  });
  await data("a");
  assert.deepEqual(ws.messages.slice(-2), [{ seq: -5, mtype: 7, body: "thanks" }, { seq: 5, meta: { "X-Stream": "1" }, body: null }]);
});

test("routes of streams and of calls are not mixed", async (t) => {
  const { ws, deliver } = await serve(t, () => {}, { routes: { "/call": () => 1 } });
  for (const [message, code, reason] of [
    [{ serviceMethod: "/chat" }, 400, "/chat is the route of a stream: open one"],
    [{ serviceMethod: "/call", meta: { "X-Stream": "1" } }, 400, "/call is not the route of a stream: call it"],
    [{ serviceMethod: "/none", meta: { "X-Stream": "1" } }, 404, "/none"],
    [{ serviceMethod: "/chat", meta: { "X-Stream": "0" } }, 400, "X-Stream, the number of bytes that the opener of a stream has room for, is 0; want 1 to 2^31-1"],
  ]) {
    await deliver({ seq: 6, ...message });
    const { error } = ws.messages.at(-1);
    assert.deepEqual([error.code, error.reason], [code, reason]);
  }
});

test("a number that is taken, and a server that has not said hello", async (t) => {
  const { ws, deliver } = await serve(t, (_, stream) => stream.closed);
  await deliver({ seq: 5, serviceMethod: "/chat", meta: { "X-Stream": "1" } });
  assert.match(ws.messages.at(-1).error.reason, /a stream with the number 5 is open already/);

  const other = await session(t, { streams: { "/chat": () => {} } });
  other.WebSocket.last.deliver({ seq: 1, serviceMethod: "/chat", meta: { "X-Stream": "1" } });
  await turn();
  assert.equal(other.WebSocket.last.messages.at(-1).error.code, 501);
});

test("at first the server may send what hello has said, then the window", async (t) => {
  const { ws, data } = await serve(t, async (_, stream) => {
    for await (const message of stream);
  }, { streamWindow: 40_000 });
  assert.equal(ws.find({ serviceMethod: "hello" }).meta.w, "16384");
  await data("x");
  assert.deepEqual(ws.messages.at(-1), { seq: -5, mtype: 6, serviceMethod: "credit", meta: { n: `${40_000 - 16384 + 67}`, m: "1" } });
});

for (const [name, act, code] of [
  ["cancel", ({ control }) => control("cancel"), 499],
  ["cancel of all calls", ({ control }) => control("cancel", undefined, 0), 499],
  ["reset", ({ control }) => control("reset", { code: "503", reason: "memory" }), 503],
  ["a fault of the server", async ({ control, data }) => (await control("end"), data("late")), 400],
  ["the connection", ({ ws }) => (ws.drop(), turn()), 102],
]) {
  test(`a handler is notified of its stream's end: ${name}`, async (t) => {
    const ends = [];
    const served = await serve(t, async (ctx, stream) => {
      await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
      ends.push(ctx.signal.reason.code);
      for (const promise of [stream.next(), stream.send("x"), stream.closed]) ends.push((await rejection(promise)).code);
      throw new Error("dropped");
    });
    await act(served);
    await turn();
    assert.deepEqual(ends, [code, code, code, code]);
    assert.equal(served.ws.find({ seq: 5 }), undefined, "there is no reply");
  });
}

test("the deadline of the opener ends a stream", async (t) => {
  const tick = clock(t);
  const { ws } = await serve(t, (_, stream) => stream.next(), {}, { meta: { "X-Stream": "100", "X-Timeout": "50" } });
  await tick(50);
  assert.equal(ws.messages.at(-1).error.code, 408);
});

test("a call that the server cancels", async (t) => {
  const aborted = [];
  const { WebSocket, warnings } = await session(t, {
    routes: {
      "/waits": (_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
      "/late": async (_, ctx) => {
        await turn();
        aborted.push(ctx.signal.aborted, ctx.signal.reason.code); // asked for after the cancel
      },
    },
  });
  for (const route of ["/waits", "/late"]) {
    WebSocket.last.deliver({ seq: 3, serviceMethod: route });
    WebSocket.last.deliver({ seq: 3, mtype: 6, serviceMethod: "cancel" });
    await turn();
    await turn();
  }
  assert.deepEqual(aborted, [true, 499]);
  assert.deepEqual([WebSocket.last.sent, warnings], [[], []]);
});
