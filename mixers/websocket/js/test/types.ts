// Compiles if the types are what teleport.js is used like; a line below @ts-expect-error
// must not. It is never run.

import { connect, json, TeleportError } from "@teleport-go/websocket";
import type { Close, Context, Options, Protocol, Session, Stream } from "@teleport-go/websocket";
import { pb } from "@teleport-go/websocket/pb.js";
import { raw } from "@teleport-go/websocket/raw.js";
import { resume } from "@teleport-go/websocket/resume.js";
import { WebSocket as NodeWebSocket } from "ws";

const options: Options = {
  protocols: [raw, pb, json],
  timeout: 1000,
  heartbeat: 25_000,
  reconnect: { min: 100, max: 10_000, attempts: 3, when: (close: Close) => close.code !== 1000 },
  routes: {
    "/name": () => "ann",
    "/sum": (body: number[], context: Context) => {
      context.replyMeta.set("n", `${body.length}`);
      return body.reduce((a, b) => a + b, 0);
    },
  },
  setup: async (first) => {
    const welcome: string = await first.auth<string>("token");
    await first.push("/log", welcome);
    // @ts-expect-error: a session that is set up cannot be closed by its setup
    first.close();
  },
  warn: (text) => console.error(text.toUpperCase()),
};

const session: Session = connect("wss://example.org/ws", options);
connect(new URL("wss://example.org/ws"), { WebSocket: NodeWebSocket });
connect("wss://example.org/ws", { WebSocket: globalThis.WebSocket, reconnect: false });
connect(async () => `wss://example.org/ws?token=${await Promise.resolve("x")}`);

const lasting: Session = connect("wss://example.org/ws", { resume: resume({ window: 60_000 }), WebSocket: NodeWebSocket });
lasting.addEventListener("lost", (event) => console.log(event.timeStamp));
lasting.addEventListener("resumed", () => undefined);
// @ts-expect-error: it is what resume returns
connect("wss://example.org/ws", { resume: true });
// @ts-expect-error: there is no such option
resume({ windows: 1 });

const sum: number = await session.call<number>("/math/add", [1, 2], { timeout: Infinity, meta: { k: "v" } });
const { body, meta } = await session.request<string[]>("/list", undefined, { signal: AbortSignal.timeout(9), meta: [["k", "v"]] });
const texts: string[] = body.concat(meta.getAll("k"), `${sum}`);
const unknown = await session.call("/x");
// @ts-expect-error: without a type argument the body is unknown
unknown.length;
await session.push("/note", texts);
const image: Uint8Array = await session.call("/image", null, { bytes: true });
session.handle("/image", (body) => body.subarray(image.length), { bytes: true });

const remove: () => void = session.handle("/x", (body: string, { signal, query, isCall }) => {
  signal.throwIfAborted();
  return isCall ? body + query.get("a") : undefined;
});
remove();

const stream: Stream<string, { text: string }> = session.openStream("/chat", { window: 1 << 16, body: "tea", signal: AbortSignal.timeout(9) });
await stream.send({ text: "hi" });
// @ts-expect-error: not what the stream sends
await stream.send("hi");
for await (const message of stream) texts.push(message, `${stream.acked}`);
await stream.closeSend();
stream.close();
const end: URLSearchParams | undefined = await stream.closed;
const next = await session.openStream<number>("/count").next();
const n: number | undefined = next.done ? undefined : next.value;
for await (const chunk of session.openStream("/file", { bytes: true })) texts.push(`${chunk.length}`, `${end}`, `${n}`);
session.handleStream("/sum", async ({ body, signal }, stream: Stream<number, number>) => {
  for await (const x of stream) if (!signal.aborted) await stream.send(x + body);
});
session.handleStream("/blob", async (_, stream) => {
  for await (const chunk of stream) await stream.send(chunk.subarray(1));
}, { bytes: true });

session.addEventListener("open", (event) => {
  const again: boolean = event.reconnected;
  console.log(again, event.protocol);
});
session.addEventListener("close", ({ code, reason, final }) => console.log(code + 1, reason.trim(), final));
session.addEventListener("reconnect", ({ attempt, delay }) => console.log(attempt + delay));
session.addEventListener("other", () => {});

const own: Protocol = { name: "own", encode: (m) => JSON.stringify(m), decode: (data) => JSON.parse(data as string) };
const ready: Session = await session.ready;
try {
  await ready.call("/x");
} catch (err) {
  if (err instanceof TeleportError && err.notRun) console.log(err.code + 1, err.message, err.reason, own.name);
}
const closed: Close = await session.close(3000, "done");
console.log(closed.wasClean, session.state === "closed", (await session.closed).code);

// @ts-expect-error: there is no such option
connect("wss://example.org/ws", { timeOut: 1 });
// @ts-expect-error: nor such a state
session.state === "dead";
// @ts-expect-error: it can only be read
session.state = "open";
// @ts-expect-error: a route is text
session.call(7);
// @ts-expect-error: a handler is a function
session.handle("/x", 7);
