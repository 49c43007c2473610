// Calls and pushes of a session: what is sent, and how they end.

import assert from "node:assert/strict";
import test from "node:test";
import { TeleportError, connect } from "../teleport.js";
import { nextSeq } from "../message.js";
import { clock, fakeWebSocket, rejection, session, turn } from "./fake.mjs";

test("a call is sent with a number and ends with the body of the reply", async (t) => {
  const { s, WebSocket } = await session(t);
  const sum = s.call("/math/add?author=ann", [1, 2, 3], { timeout: Infinity });
  assert.deepEqual(WebSocket.last.messages, [{ seq: 1, serviceMethod: "/math/add?author=ann", body: [1, 2, 3] }]);
  WebSocket.last.deliver({ seq: 1, body: 6 });
  assert.equal(await sum, 6);
});

test("a call carries its deadline and metadata, and the reply's metadata are read", async (t) => {
  clock(t);
  const { s, WebSocket } = await session(t);
  const reply = s.request("/x", undefined, { timeout: 1234, meta: { a: "1 +é" } });
  assert.deepEqual(WebSocket.last.messages[0].meta, { a: "1 +é", "X-Timeout": "1234" });
  WebSocket.last.deliver({ seq: 1, meta: { who: "a+b c" }, body: null });
  const { body, meta } = await reply;
  assert.equal(body, null);
  assert.equal(meta.get("who"), "a+b c");
});

test("an error of the reply is the call's", async (t) => {
  const { s, WebSocket } = await session(t);
  const failed = rejection(s.call("/none"));
  WebSocket.last.deliver({ seq: 1, error: { code: 404, message: "Not Found", reason: "/none" } });
  const err = await failed;
  assert.ok(err instanceof TeleportError);
  assert.deepEqual([err.code, err.message, err.reason, err.notRun], [404, "Not Found", "/none", false]);
  assert.match(err.stack, /^TeleportError: 404: Not Found: \/none/, "what a console shows");
});

test("a reply whose body cannot be read fails with 400, but not as bytes", async (t) => {
  const { s, WebSocket } = await session(t);
  const failed = rejection(s.call("/x"));
  const bytes = s.call("/x", null, { bytes: true });
  for (const seq of [1, 2]) WebSocket.last.deliver({ seq, bodyCodec: 106, body: "{" });
  assert.equal((await failed).code, 400);
  assert.deepEqual(await bytes, new Uint8Array([123]));
});

test("replies in any order find their calls", async (t) => {
  const { s, WebSocket } = await session(t);
  const calls = [1, 2, 3].map((n) => s.call("/echo", n));
  for (const { seq, body } of WebSocket.last.messages.reverse()) WebSocket.last.deliver({ seq, body: body * 10 });
  assert.deepEqual(await Promise.all(calls), [10, 20, 30]);
});

test("a push has no number, and its promise is fulfilled when it is sent", async (t) => {
  const { s, WebSocket } = await session(t);
  assert.equal(await s.push("/note", "hi"), undefined);
  assert.deepEqual(WebSocket.last.messages, [{ serviceMethod: "/note", body: "hi" }]);
});

test("calls before the connection is open are sent in their order", async (t) => {
  const { s, WebSocket } = await session(t, {}, false);
  const calls = ["/a", "/b"].map((route) => s.call(route));
  const pushed = s.push("/c");
  assert.equal(WebSocket.last.sent.length, 0);
  WebSocket.last.accept();
  await pushed;
  assert.deepEqual(WebSocket.last.messages.map((m) => m.serviceMethod), ["/a", "/b", "/c"]);
  WebSocket.last.deliver({ seq: 2, body: "b" });
  WebSocket.last.deliver({ seq: 1, body: "a" });
  assert.deepEqual(await Promise.all(calls), ["a", "b"]);
});

test("a call ends at its timeout, and its late reply is ignored", async (t) => {
  const tick = clock(t);
  const { s, WebSocket, warnings } = await session(t);
  const failed = rejection(s.call("/slow", null, { timeout: 50 }));
  await tick(50);
  const err = await failed;
  assert.deepEqual([err.code, err.reason, err.notRun], [408, "no reply within 50 ms", false]);
  WebSocket.last.deliver({ seq: 1, body: "late" });
  assert.deepEqual(warnings, []);
});

test("a call that waits longer for a connection than waitTimeout has not run", async (t) => {
  const tick = clock(t);
  const { s } = await session(t, { waitTimeout: 40, connectTimeout: 1000 }, false);
  const failed = rejection(s.call("/x"));
  await tick(40);
  const err = await failed;
  assert.deepEqual([err.code, err.notRun], [102, true]);
  assert.equal(err.reason, "not sent within 40 ms: the session is connecting");
});

test("waitTimeout does not end a call that was sent", async (t) => {
  const tick = clock(t);
  const { s, WebSocket } = await session(t, { waitTimeout: 40 }, false);
  const call = s.call("/x");
  WebSocket.last.accept();
  await turn();
  await tick(41);
  WebSocket.last.deliver({ seq: 1, body: 1 });
  assert.equal(await call, 1);
});

test("an aborted signal ends a call with its reason: before it, while it waits, while it is pending", async (t) => {
  const { s, WebSocket } = await session(t, {}, false);
  const reason = new Error("no longer wanted");
  assert.equal(await rejection(s.call("/x", null, { signal: AbortSignal.abort(reason) })), reason);

  const waiting = new AbortController();
  const first = rejection(s.call("/waits", null, { signal: waiting.signal }));
  waiting.abort(reason);
  assert.equal(await first, reason);
  WebSocket.last.accept();
  await turn();
  assert.equal(WebSocket.last.sent.length, 0, "it is not sent later");

  const pending = new AbortController();
  const second = rejection(s.call("/pending", null, { signal: pending.signal }));
  pending.abort();
  assert.equal((await second).name, "AbortError");
});

test("a call that has ended leaves nothing behind", async (t) => {
  const tick = clock(t);
  const { s, WebSocket } = await session(t, { maxCalls: 1 });
  const { signal } = new AbortController();
  const [add, remove] = ["addEventListener", "removeEventListener"].map((name) => t.mock.method(signal, name));
  const answered = s.call("/x", null, { signal });
  WebSocket.last.deliver({ seq: 1 });
  await answered;
  assert.deepEqual(remove.mock.calls[0].arguments, add.mock.calls[0].arguments);

  const late = rejection(s.call("/x", null, { timeout: 10 }));
  await tick(10);
  assert.equal((await late).code, 408);
  s.call("/x").catch(() => {}); // is not one too many
  assert.equal(WebSocket.last.messages.filter((m) => m.serviceMethod === "/x").length, 3);
});

test("bodies that cannot be encoded, and too large ones, are the error of their call alone", async (t) => {
  const { s, WebSocket } = await session(t, { maxMessage: 200 });
  assert.equal((await rejection(s.call("/x", 1n))).code, 104);
  const big = await rejection(s.push("/x", "é".repeat(100)));
  assert.deepEqual([big.code, big.notRun], [104, true]);
  assert.match(big.reason, /a message of 2\d\d bytes is over the limit of 200/);
  const call = s.call("/x", "é".repeat(20));
  WebSocket.last.deliver({ seq: WebSocket.last.messages[0].seq, body: 1 });
  assert.equal(await call, 1);
});

test("more than maxCalls are refused", async (t) => {
  const { s } = await session(t, { maxCalls: 2 });
  s.call("/a").catch(() => {});
  s.call("/b").catch(() => {});
  const err = await rejection(s.call("/c"));
  assert.deepEqual([err.code, err.reason, err.notRun], [104, "2 calls are pending", true]);
});

test("what the WebSocket has no room for waits, and is sent when it has", async (t) => {
  const tick = clock(t);
  const { s, WebSocket } = await session(t);
  WebSocket.last.bufferedAmount = 5 << 20;
  const pushed = s.push("/x");
  assert.equal(WebSocket.last.sent.length, 0);
  await tick(10);
  assert.equal(WebSocket.last.sent.length, 0);
  WebSocket.last.bufferedAmount = 0;
  await tick(10);
  await pushed;
});


test("bad options throw and say which", () => {
  const WebSocket = fakeWebSocket();
  for (const [url, options, want] of [
    ["ws://h/", { timeOut: 1 }, /connect: there is no option timeOut/],
    ["ws://h/", { constructor: 1 }, /connect: there is no option constructor/],
    ["ws://h/", { reconnect: { maximum: 1 } }, /connect: reconnect: there is no option maximum/],
    ["ws://h/", { timeout: -1 }, /timeout is -1: want milliseconds/],
    ["ws://h/", { WebSocket: {} }, /pass a class as option WebSocket/],
    ["ftp://h/", {}, /ftp:\/\/h\/ is no URL of ws:/],
    ["/ws", {}, /Invalid URL/],
    ["ws://h/", { routes: { "/x": 1 } }, /handle \/x: the handler is no function/],
  ]) {
    assert.throws(() => connect(url, { WebSocket, ...options }), want);
  }
  assert.equal(WebSocket.all.length, 0, "nothing was dialled");
});

test("bad options of a call reject it", async (t) => {
  const { s } = await session(t);
  assert.match((await rejection(s.call("/x", 1, { time: 1 }))).message, /call: there is no option time/);
  assert.match((await rejection(s.call("/x", 1, { timeout: 0 }))).message, /timeout is 0/);
});

test("numbers go round after 2^31-1, past those of pending calls", () => {
  assert.equal(nextSeq(0, new Map()), 1);
  assert.equal(nextSeq(2 ** 31 - 2, new Map()), 2 ** 31 - 1);
  assert.equal(nextSeq(2 ** 31 - 1, new Map([[1], [2]])), 3);
});
