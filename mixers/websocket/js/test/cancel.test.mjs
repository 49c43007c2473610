// The cancel of calls that were aborted: it needs the server's hello, whenever that comes.

import assert from "node:assert/strict";
import test from "node:test";
import { clock, rejection, session, turn } from "./fake.mjs";

const hello = (f = "cancel,stream") => ({ mtype: 6, serviceMethod: "hello", meta: { v: "1", f, w: "1000" } });

/** Makes a call with a signal and aborts it; returns its number. */
async function aborted(s, ws, route = "/x") {
  const stop = new AbortController();
  const call = rejection(s.call(route, null, { signal: stop.signal }));
  stop.abort();
  assert.equal((await call).name, "AbortError");
  return ws.find({ serviceMethod: route }).seq;
}

/** The numbers of the cancels that were sent. */
const cancels = (ws) => ws.messages.filter((m) => m.mtype === 6 && m.serviceMethod === "cancel").map((m) => m.seq);
const hellos = (ws) => ws.messages.filter((m) => m.serviceMethod === "hello").length;

test("a call that is aborted after the server's hello is cancelled at once", async (t) => {
  const { s, WebSocket } = await session(t);
  const ws = WebSocket.last;
  ws.deliver(hello());
  const seq = await aborted(s, ws);
  assert.deepEqual(ws.messages.at(-1), { seq, mtype: 6, serviceMethod: "cancel" });
  assert.equal(hellos(ws), 1);
});

test("calls that are aborted before the server's hello are cancelled when it comes, once, unless they have been answered", async (t) => {
  const { s, WebSocket } = await session(t);
  const ws = WebSocket.last;
  const [first, answered, third] = [await aborted(s, ws), await aborted(s, ws), await aborted(s, ws)];
  assert.deepEqual(cancels(ws), [], "the server may not take it");
  ws.deliver({ seq: answered, body: "late" });
  ws.deliver(hello());
  assert.deepEqual(cancels(ws), [first, third]);
  ws.deliver(hello());
  assert.deepEqual(cancels(ws), [first, third]);
  assert.equal(hellos(ws), 1);
});

test("a server whose hello does not name cancel gets none", async (t) => {
  const { s, WebSocket } = await session(t);
  await aborted(s, WebSocket.last);
  WebSocket.last.deliver(hello("stream"));
  await aborted(s, WebSocket.last);
  assert.deepEqual(cancels(WebSocket.last), []);
});

test("calls of the setup: the page says hello behind it", async (t) => {
  const stop = new AbortController();
  const { s, WebSocket } = await session(t, {
    setup: (first) => {
      first.call("/enter", null, { signal: stop.signal }).catch(() => {});
    },
  });
  const ws = WebSocket.last;
  assert.deepEqual(ws.messages.map((m) => m.serviceMethod), ["/enter", "hello"]);
  stop.abort();
  ws.deliver(hello());
  assert.deepEqual(cancels(ws), [ws.find({ serviceMethod: "/enter" }).seq]);
  assert.equal(s.state, "open");
});

test("what was aborted on a connection is not cancelled on the next one", async (t) => {
  const tick = clock(t);
  const { s, WebSocket } = await session(t);
  await aborted(s, WebSocket.last);
  WebSocket.last.drop();
  await tick(500);
  WebSocket.last.accept();
  await turn();
  WebSocket.last.deliver(hello());
  assert.equal(WebSocket.all.length, 2);
  assert.deepEqual(cancels(WebSocket.last), []);
});

test("of a server that never says hello no more than maxCalls numbers are kept", async (t) => {
  const { s, WebSocket } = await session(t, { maxCalls: 3 });
  const ws = WebSocket.last;
  const all = [];
  for (let i = 0; i < 5; i++) all.push(await aborted(s, ws));
  ws.deliver(hello());
  assert.deepEqual(cancels(ws), all.slice(0, 3));
});
