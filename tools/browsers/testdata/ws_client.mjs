// A client by npm's ws, without teleport.js: node ws_client.mjs URL. It ends with an
// assertion that fails, or after all.

import assert from "node:assert/strict";
import { once } from "node:events";
import { WebSocket } from "ws";

const ws = new WebSocket(process.argv[2], ["teleport.json"]); // offers permessage-deflate, too
await once(ws, "open");
assert.deepEqual([ws.protocol, ws.extensions], ["teleport.json", ""]);

let seq = 0;
const calls = new Map();
const routes = { "/name": (body) => ({ name: "ws", body }) };
const pushed = [];
ws.on("message", (data, isBinary) => {
  assert.equal(isBinary, false);
  const m = JSON.parse(data);
  if (m.mtype === 2) calls.get(m.seq)(m);
  else if (m.mtype === 1) ws.send(JSON.stringify({ seq: m.seq, body: routes[m.serviceMethod](m.body) }));
  else pushed.push(m.body);
});
const reply = (n) => new Promise((resolve) => calls.set(n, resolve));
async function call(serviceMethod, body) {
  ws.send(JSON.stringify({ seq: ++seq, serviceMethod, body }));
  const { error, body: result } = await reply(seq);
  if (error) throw Object.assign(new Error(error.message), error);
  return result;
}

assert.equal(await call("/math/add", [1, 2, 3]), 6);
await assert.rejects(call("/fail", { code: 1001, message: "sold out", reason: "é" }), { code: 1001, message: "sold out", reason: "é" });
assert.deepEqual((await call("/ask", { route: "/name", body: "é" })).body, { name: "ws", body: "é" });
await call("/pushme", 2);
ws.send(JSON.stringify({ serviceMethod: "/note", body: "hi", meta: { who: "ws" } }));
while ((await call("/noted")) === null);
assert.deepEqual(await call("/noted"), [{ body: "hi", who: "ws" }]);
assert.deepEqual(pushed.sort(), ["push 0", "push 1"]);
const long = 'é"'.repeat(100_000);
assert.equal(await call("/echo", long), long);

// A message in fragments, with a ping among them, and one that is binary.
const fragmented = reply(++seq);
ws.send(`{"seq":${seq},"serviceMethod":"/math/add",`, { fin: false });
ws.ping("among fragments");
ws.send('"body":[4,', { fin: false });
ws.send("5]}", { fin: true });
const [[pong], { body }] = await Promise.all([once(ws, "pong"), fragmented]);
assert.deepEqual([`${pong}`, body], ["among fragments", 9]);
const binary = reply(++seq);
ws.send(Buffer.from(`{"seq":${seq},"serviceMethod":"/math/add","body":[1]}`));
assert.equal((await binary).body, 1);

ws.close(1000, "done");
const [code] = await once(ws, "close");
assert.equal(code, 1000);
