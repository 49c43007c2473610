// The cases that run in every browser and in Node, in the same way: run is called with the
// modules of teleport.js, and with where the servers are. server.go has the routes.

// env has:
//   name     of the environment, as "firefox teleport.raw"
//   lib      connect, TeleportError, resume, and the sub-protocols by name
//   protocol name of the sub-protocol
//   options  for each connect
//   url      of a server that lives as long as the test
//   control  URL of what starts and ends servers, and cuts their connections
//   resume   whether sessions outlive their connections

let env;
let running; // the name of the case

export async function run(e, only) {
  env = e;
  const results = [];
  for (const [name, fn] of Object.entries(cases)) {
    if (only && name !== only) continue;
    const began = performance.now();
    const result = { name };
    const toClose = [];
    running = name;
    try {
      await within(60_000, name, fn({ open: (options, url) => open(toClose, options, url) }));
    } catch (err) {
      result.error = `${err?.stack?.includes(err.message) ? "" : `${err}\n`}${err?.stack ?? ""}`;
    }
    for (const s of toClose) s.close();
    result.ms = Math.round(performance.now() - began);
    results.push(result);
  }
  running = undefined;
  return results;
}

function open(toClose, options = {}, url = env.url) {
  const resume = env.resume ? env.lib.resume({ window: 5000 }) : undefined;
  const session = env.lib.connect(url, { protocols: [env.lib[env.protocol]], resume, ...env.options, ...options });
  toClose.push(session);
  return session;
}

function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what} took over ${ms} ms`)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function equal(got, want, what = "") {
  const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
  if (g !== w) throw new Error(`${what} is ${clip(g)}, want ${clip(w)}`);
}

const clip = (text) => (text?.length > 300 ? `${text.slice(0, 300)}… (${text.length})` : text);

async function rejection(promise) {
  const value = await promise.catch((err) => ({ err }));
  if (!value?.err) throw new Error(`was fulfilled with ${clip(JSON.stringify(value))}`);
  return value.err;
}

const fields = ({ code, message, reason }) => [code, message, reason];

// event waits for an event of a session of which is(event) is true.
function event(session, type, is = () => true) {
  return new Promise((resolve) => {
    session.addEventListener(type, function on(e) {
      if (!is(e)) return;
      session.removeEventListener(type, on);
      resolve(e);
    });
  });
}

// eventually calls fn until it returns something true, as long as the case runs.
async function eventually(fn) {
  for (const mine = running; mine === running; ) {
    const value = await fn();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("the case has ended");
}

// server starts a server of the case's own, and returns what ends it.
async function server(query = "") {
  const control = async (path) => {
    const response = await fetch(`${env.control}${path}`, { method: "POST" });
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
    return response.json();
  };
  const { id, url } = await control(`/start?${query}`);
  return {
    url,
    end: (how) => control(`/end?id=${id}&how=${how}`),
    restart: () => control(`/restart?id=${id}`),
    cut: (most) => control(`/cut?id=${id}&most=${most}`), // the present connection, and others within so many bytes
  };
}

// quick is a reconnect that does not wait long.
const quick = { reconnect: { min: 20, max: 200 } };

const cases = {
  async call({ open }) {
    const s = open();
    equal(await s.call("/math/add", [1, 2, 3]), 6);
    equal(s.protocol, `teleport.${env.protocol}`);
    equal(await s.call("/math/add", []), 0);
  },

  async error({ open }) {
    const s = open();
    const { TeleportError } = env.lib;
    const own = await rejection(s.call("/fail", { code: 1001, message: 'sold "out"', reason: "shelf\n7 é" }));
    equal(own instanceof TeleportError, true);
    equal(fields(own), [1001, 'sold "out"', "shelf\n7 é"]);
    const none = await rejection(s.call("/none"));
    equal([none.code, none.message, none.notRun], [404, "Not Found", false]);
    const panicked = await rejection(s.call("/panic"));
    equal([panicked.code, panicked.message], [500, "Internal Server Error"]);
    const argument = await rejection(s.call("/math/add", "text"));
    equal(argument.code, 400);
    equal(await s.call("/math/add", [1]), 1, "a call after the errors");
  },

  async push({ open }) {
    const s = open();
    await s.push("/note", { n: 1 }, { meta: { who: "me é" } });
    const notes = await eventually(async () => (await s.call("/noted")) ?? undefined);
    equal(notes, [{ body: { n: 1 }, who: "me é" }]);
  },

  async "the server calls the page"({ open }) {
    const { TeleportError } = env.lib;
    let aborted = false;
    const s = open({
      routes: {
        "/name": (body, ctx) => {
          ctx.replyMeta.set("mood", "good é");
          return { name: `page ${env.protocol}`, body, author: ctx.query.get("author"), who: ctx.meta.get("who") };
        },
        "/own": () => {
          throw new TeleportError(1002, "no", 'reason "é"');
        },
        "/bug": () => undefined.x,
        "/nothing": () => {},
        "/slow": (_, { signal }) => new Promise(() => signal.addEventListener("abort", () => (aborted = true))),
      },
    });
    const ask = (route, body = null, ms = 0) => s.call("/ask", { route, body, ms });
    equal(await ask("/name?author=ann", ["é", 1.5]), {
      body: { name: `page ${env.protocol}`, body: ["é", 1.5], author: "ann", who: "server" },
      mood: "good é",
    });
    equal((await ask("/nothing")).body, null);
    equal(fields(await rejection(ask("/own"))), [1002, "no", 'reason "é"']);
    equal((await rejection(ask("/bug"))).code, 500);
    equal(fields(await rejection(ask("/none"))), [404, "Not Found", "/none"]);
    await eventually(async () => {
      equal((await rejection(ask("/slow", null, 50))).code, 408, "the server's deadline");
      return aborted; // else it has ended before the call was sent, or has not ended here
    });
    const many = await Promise.all(Array.from({ length: 200 }, (_, i) => ask("/name", i)));
    equal(many.map((reply) => reply.body.body), Array.from({ length: 200 }, (_, i) => i));
  },

  async "the server pushes"({ open }) {
    const s = open();
    const got = [];
    s.handle("/heard", (body, ctx) => got.push([body, ctx.isCall, ctx.meta.get("i")]));
    await s.call("/pushme", 3);
    await eventually(() => got.length === 3);
    equal(got.sort(), [0, 1, 2].map((i) => [`push ${i}`, false, `${i}`]));
  },

  async metadata({ open }) {
    const s = open();
    const { body, meta } = await s.request("/meta?q=a%20b%2B", null, {
      meta: [["k", "v 1/é+&="], ["twice", "1"], ["twice", "2"], ["empty", ""]],
      timeout: 5000,
    });
    equal(body.k, ["v 1/é+&="]);
    equal(body.twice, ["1", "2"]);
    equal(body.empty, [""]);
    equal(body.q, ["a b+"]);
    const left = Number(body["X-Timeout"][0]);
    equal(left > 0 && left <= 5000, true, `X-Timeout ${left}`);
    equal(meta.get("seen"), "é +");
  },

  async "text with quotes and any UTF-8"({ open }) {
    const s = open();
    let all = "\"\\\"\\\\\ufeff\u2028\u2029😀𝄞";
    for (let c = 0; c < 0x10000; c++) if (c < 0xd800 || c > 0xdfff) all += String.fromCharCode(c);
    equal((await s.call("/echo", all)) === all, true, "the text that came back");
    equal(await s.call("/echo", { [all.slice(0, 300)]: [all.slice(300, 400), null, true, 1e21, -0.5] }), {
      [all.slice(0, 300)]: [all.slice(300, 400), null, true, 1e21, -0.5],
    });
  },

  async "300 KB, and bytes"({ open }) {
    const s = open();
    const text = "0123456789é\"".repeat(23_000);
    equal((await s.call("/echo", text)) === text, true, "the text that came back");
    const sent = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7 + (i >> 8));
    const got = await s.call("/bytes", sent, { bytes: true });
    equal(got instanceof Uint8Array && got.length === sent.length && got.every((b, i) => b === sent[i]), true, "the bytes");
    equal([...(await s.call("/bytes", new Uint8Array([0xff]).buffer, { bytes: true }))], [0xff]);
    equal([...(await s.call("/bytes", 12, { bytes: true }))], [0x31, 0x32]);
    s.handle("/heard", (body) => Uint8Array.from(body, (b) => b + 1), { bytes: true });
    equal([...(await s.call("/askbytes", new Uint8Array([0, 0xff, 7]), { bytes: true }))], [1, 0, 8]);
  },

  async "5,000 calls at once"({ open }) {
    const s = open();
    const sums = await Promise.all(Array.from({ length: 5000 }, (_, i) => s.call("/math/add", [i, 1])));
    equal(sums.every((sum, i) => sum === i + 1), true, "the sums");
  },

  async "garbage is dropped, and the session goes on"({ open }) {
    const s = open();
    await s.ready;
    const WebSocket = env.options?.WebSocket ?? globalThis.WebSocket;
    const ws = new WebSocket(env.url, [`teleport.${env.protocol}`]);
    ws.binaryType = "arraybuffer";
    const closed = new Promise((_, reject) => ws.addEventListener("close", ({ code }) => reject(new Error(`closed: ${code}`))));
    await Promise.race([closed, new Promise((resolve) => ws.addEventListener("open", resolve))]);
    const protocol = env.lib[env.protocol];
    const call = (seq, route, body) => protocol.encode({ type: 1, seq, route, meta: new URLSearchParams(), body });
    const replies = [];
    ws.addEventListener("message", ({ data }) => replies.push(protocol.decode(data)));
    const garbage = env.protocol === "json" ? ["garbage", '{"seq":', "[]", '{"seq":"x"}', "\u0000"] : [];
    if (env.protocol === "pb") garbage.push(new Uint8Array([0xff, 0xff]), new Uint8Array([0x0a]), new Uint8Array([0x4b]));
    for (const data of garbage) ws.send(data);
    ws.send(call(7, "/math/add", [20, 22]));
    await Promise.race([closed, eventually(() => replies.some((m) => m.seq === 7))]);
    closed.catch(() => {});
    equal(replies.find((m) => m.seq === 7).read(false), 42);
    ws.close();
  },

  async AbortSignal({ open }) {
    const s = open();
    await s.ready;
    const controller = new AbortController();
    const failed = rejection(s.call("/slow", "abort", { signal: controller.signal }));
    await eventually(() => s.call("/running", "abort"));
    controller.abort();
    equal((await failed).name, "AbortError");
    const late = await rejection(s.call("/slow", "abort", { signal: AbortSignal.timeout(5) }));
    equal(late.name, "TimeoutError");
    equal(await s.call("/math/add", [1]), 1);
  },

  async "an aborted call ends its handler"({ open }) {
    const s = open();
    const stop = new AbortController();
    const key = `aborted ${env.name}`;
    const call = rejection(s.call("/slow", key, { signal: stop.signal }));
    await eventually(() => s.call("/running", key));
    stop.abort();
    equal((await call).name, "AbortError");
    equal(await eventually(() => s.call("/ended", key)), "context canceled");
  },

  async "a stream both ways"({ open }) {
    const s = open();
    const stream = s.openStream("/chat?to=é", { body: "re: ", meta: { who: "page" } });
    const texts = ["é中😀", "", "a\nb", "x".repeat(100_000)];
    const got = [];
    await Promise.all([
      (async () => {
        for (const text of texts) await stream.send(text);
        await stream.closeSend();
      })(),
      (async () => {
        for await (const text of stream) got.push(text);
      })(),
    ]);
    equal(got, texts.map((text) => `re: ${text}`));
    equal((await stream.closed).get("who"), "page to é");
  },

  async "30,000 messages one way, and back"({ open }) {
    const s = open({ streamWindow: 50_000 });
    let n = 0;
    for await (const i of s.openStream("/count?n=30000")) equal(i, n++);
    equal(n, 30_000);
    const stream = s.openStream("/total");
    for (let i = 1; i <= 30_000; i++) await stream.send(i);
    await stream.closeSend();
    equal((await stream.next()).value, 450_015_000);
    if (stream.acked < 1000) throw new Error(`acked is ${stream.acked}`);
    await stream.closed;
  },

  async "bytes and objects over streams, whose sizes both sides count"({ open }) {
    const s = open({ streamWindow: 3000 });
    const bytes = Uint8Array.from({ length: 4000 }, (_, i) => i);
    const echo = s.openStream("/bytes/echo", { bytes: true });
    for (let i = 0; i < 50; i++) {
      await echo.send(bytes.subarray(i));
      equal([...(await echo.next()).value], [...bytes.subarray(i)]);
    }
    echo.close();
    const objects = s.openStream("/json/echo");
    for (let i = 0; i < 200; i++) {
      const object = { body: [i, "<é&\u2028", { a: null }], text: "}" };
      await objects.send(object);
      equal((await objects.next()).value, object);
    }
    objects.close();
  },

  async "a page that does not receive holds up the server, and nobody else"({ open }) {
    const s = open({ streamWindow: 100_000 });
    const key = `flood ${env.name}`;
    const stream = s.openStream("/flood", { body: key });
    await eventually(async () => (await s.call("/flooded", key)) > 50);
    let before = -1;
    const sent = await eventually(async () => {
      const now = await s.call("/flooded", key); // which the stream does not hold up
      return before === (before = now) ? now : 0;
    });
    if (sent > 102) throw new Error(`${sent} KB were sent to a window of 100`);
    let n = 0;
    for await (const text of stream) n += text.length;
    equal(n, 500_000);
  },

  async "the server opens a stream to the page"({ open }) {
    const ends = [];
    const s = open({
      streams: {
        "/page": async (ctx, stream) => {
          for await (const text of stream) await stream.send(`${ctx.body} ${ctx.query.get("q")} ${text}`);
          ends.push("returned");
        },
        "/fails": async (ctx, stream) => {
          await stream.send("last words");
          throw new env.lib.TeleportError(1001, "sold out", "é");
        },
        "/waits": async (ctx) => {
          await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
          ends.push(`aborted: ${ctx.signal.reason.code}`);
          throw ctx.signal.reason;
        },
      },
    });
    equal(await s.call("/openstream", { route: "/page?q=é", texts: ["a", "", "c"] }), ["hello é a", "hello é ", "hello é c"]);
    equal(fields(await rejection(s.call("/openstream", { route: "/fails" }))), [1001, "sold out", "é: last words"]);
    equal((await rejection(s.call("/openstream", { route: "/none" }))).code, 404);
    await eventually(async () => {
      equal((await rejection(s.call("/openstream", { route: "/waits", ms: 30 }))).code, 408);
      return ends.length > 1; // else the deadline has ended before the stream was opened, or has not ended here
    });
    equal(ends.slice(0, 2), ["returned", "aborted: 408"]);
  },

  async "errors and ends of streams"({ open }) {
    const s = open();
    const failing = s.openStream("/failing");
    equal((await failing.next()).value, "last words");
    equal(fields(await rejection(failing.next())), [777, "no", "because"]);
    equal((await rejection(s.openStream("/nowhere").next())).code, 404);
    equal((await rejection(s.openStream("/math/add").next())).code, 400);
    equal((await rejection(s.call("/failing"))).code, 400);
    for (const [how, n] of [["close", 1], ["close, while the handler sends", 1e6], ["signal", 1], ["loop", 2]]) {
      const stop = new AbortController();
      const key = `stream ${how} ${env.name}`;
      const stream = s.openStream(`/hold?n=${n}`, { body: key, signal: stop.signal });
      equal((await stream.next()).value, "held");
      if (how.startsWith("close")) stream.close();
      if (how === "signal") stop.abort();
      if (how === "loop") for await (const _ of stream) break;
      equal(await eventually(() => s.call("/ended", key)), "tp: the caller has given up");
    }
  },

  async timeout({ open }) {
    const s = open();
    const key = `timeout ${env.name}`;
    await eventually(async () => {
      equal((await rejection(s.call("/slow", key, { timeout: 60 }))).code, 408);
      return s.call("/ended", key); // the handler had the deadline, too, if the call was sent in time
    });
  },

  async "close by the server: 1000"({ open }) {
    const s = open();
    await s.ready;
    s.call("/close").catch(() => {});
    const { code, wasClean } = await s.closed;
    equal([code, wasClean, s.state], [1000, true, "closed"]);
  },

  async "close by the page: the server sees it"({ open }) {
    const s = open();
    const other = open();
    const key = `close ${env.name}`;
    await s.call("/mark", key);
    await s.close(3456, "done é");
    const reason = await eventually(() => other.call("/ended", key));
    equal(reason.includes("3456") && reason.includes("done é"), true, reason);
  },

  async "refused: 1008, and no reconnect"({ open }) {
    const s = open();
    await s.ready;
    s.call("/kick", "spam").catch(() => {});
    const close = await s.closed;
    equal([close.code, close.wasClean, close.reason], [1008, true, "403 Forbidden"]);
    equal([close.error.code, close.error.message], [403, "Forbidden"]);
    if (env.protocol === "raw") equal(close.error.reason, "spam"); // it has words for that
  },

  async "too large: 1009"({ open }) {
    const s = open({ ...quick, maxMessage: Infinity });
    await s.ready;
    const closed = event(s, "close");
    const failed = rejection(s.call("/echo", "x".repeat(3 << 20)));
    equal((await closed).code, 1009);
    equal((await failed).code, 102);
    equal(await s.call("/math/add", [1]), 1, "after the reconnect");
  },

  async "shutdown: 1001, and reconnect to the next server"({ open }) {
    const own = await server("origins=*");
    const s = open(quick, own.url);
    equal(await s.call("/math/add", [1]), 1);
    const closed = event(s, "close");
    const pending = s.call("/slow", "300 ms");
    await eventually(() => s.call("/running", "300 ms"));
    await own.end("shutdown");
    equal(await pending, "done", "a shutdown waits for handlers");
    const { code, wasClean, final } = await closed;
    equal([code, wasClean, final], [1001, true, false]);
    const waits = s.call("/math/add", [2, 3]);
    const again = event(s, "open", (e) => e.reconnected);
    await own.restart();
    await again;
    equal(await waits, 5);
    await own.end("kill");
  },

  async "kill -9, and reconnect to the next server on the port"({ open }) {
    const own = await server("origins=*");
    const rooms = [];
    const s = open({ ...quick, setup: async (first) => rooms.push(await first.call("/join", "tea")) }, own.url);
    equal(await s.call("/math/add", [1]), 1);
    const pending = rejection(s.call("/slow", "killed"));
    await eventually(() => s.call("/running", "killed"));
    const closed = event(s, "close");
    await own.end("kill");
    const close = await closed;
    equal([close.code, close.wasClean, close.final], [1006, false, false]);
    const lost = await pending;
    equal([lost.code, lost.notRun], [102, false]);
    const waits = s.call("/math/add", [2, 3]);
    await own.restart();
    equal(await waits, 5);
    equal(rooms, ["joined tea as 1", "joined tea as 1"]);
    await own.end("kill");
  },

  async "connections are cut, and neither side notices"({ open }) {
    const own = await server("origins=*&cut=yes");
    const resume = env.lib.resume();
    const noticed = [];
    const asked = [];
    const routes = { "/name": (n) => (asked.push(n), n + 1) };
    const streams = {
      "/page": async (_, stream) => {
        for await (const text of stream) await stream.send(`${text}!`);
      },
    };
    const s = open({ resume, routes, streams, setup: () => noticed.push("setup") }, own.url);
    let cuts = 0;
    s.addEventListener("resumed", () => cuts++);
    for (const type of ["close", "reconnect"]) s.addEventListener(type, (e) => noticed.push(`${type} ${e.code} ${e.reason}`));
    await s.ready;
    equal(s.protocol, `teleport.${env.protocol}`);
    const heard = [];
    s.handle("/heard", (text) => heard.push(text));
    await own.cut(50_000);

    const calls = async (n) => {
      const pad = "x".repeat(1000);
      for (let i = 0; i < n; i++) equal(await s.call("/echo", pad + i), pad + i);
    };
    const pushes = async (from, n) => {
      for (let i = 0; i < n; i++) await s.push("/note", from + i);
    };
    const down = async (n) => {
      let next = 0;
      for await (const i of s.openStream(`/count?n=${n}`)) equal(i, next++);
      equal(next, n, "the messages of a stream");
    };
    const up = async (n) => {
      const stream = s.openStream("/total");
      for (let i = 1; i <= n; i++) await stream.send(i);
      await stream.closeSend();
      equal((await stream.next()).value, (n * (n + 1)) / 2);
      await stream.closed;
    };
    const texts = Array.from({ length: 100 }, (_, i) => `${i} ${"é".repeat(200)}`);
    const served = async () => equal(await s.call("/openstream", { route: "/page", texts }), texts.map((text) => `${text}!`));
    const asks = async (from, n) => {
      for (let i = 0; i < n; i++) equal((await s.call("/ask", { route: "/name", body: from + i })).body, from + i + 1);
    };
    const several = (n, fn) => Array.from({ length: n }, fn);
    let round = 0;
    for (; cuts < 8; round++) {
      const from = round * 100;
      await Promise.all([...several(4, () => calls(20)), pushes(from, 100), down(2000), up(2000), served(), asks(from, 100), s.call("/pushme", 20)]);
    }
    equal(noticed, ["setup"]);
    const all = several(round * 100, (_, i) => i);
    const notes = await eventually(async () => ((await s.call("/noted")) ?? []).length >= all.length && s.call("/noted"));
    equal(notes.map((note) => note.body).sort((a, b) => a - b), all, "the pushes");
    equal(asked.sort((a, b) => a - b), all, "what the server has asked");
    await eventually(() => heard.length >= 20 * round);
    equal(heard.length, 20 * round, "the server's pushes");
    await own.end("kill");
  },

  async "a server that has forgotten the session: a fresh one begins"({ open }) {
    const own = await server("origins=*");
    const s = open({ ...quick, resume: env.lib.resume() }, own.url);
    equal(await s.call("/math/add", [1]), 1);
    const pending = rejection(s.call("/slow", "forgotten"));
    await eventually(() => s.call("/running", "forgotten"));
    const closed = event(s, "close");
    await own.end("kill");
    await own.restart();
    const { code, reason, final } = await closed;
    equal([code, reason, final], [1006, "the server does not have the session any more", false]);
    equal((await pending).code, 102);
    equal(await s.call("/math/add", [2, 3]), 5);
    await own.end("kill");
  },

  async "two sessions"({ open }) {
    const [a, b] = [open(), open()];
    const heard = new Promise((resolve) => b.handle("/heard", resolve));
    await Promise.all([a.ready, b.ready]);
    await a.call("/mark", `a ${env.name}`);
    await b.call("/mark", `b ${env.name}`);
    await a.call("/tell", { to: `b ${env.name}`, text: "hello" });
    equal(await heard, "hello");
  },

  async "setup logs in by plugins/auth, and a refusal ends the session"({ open }) {
    const own = await server("origins=*&auth=secret");
    const s = open({ setup: async (first) => equal(await first.auth("secret"), "welcome") }, own.url);
    equal(await s.call("/math/add", [1]), 1);
    const refused = open({ setup: (first) => first.auth("guess") }, own.url);
    const err = await rejection(refused.ready);
    equal([err.code, err.reason], [401, "wrong password"]);
    equal(refused.state, "closed");
    await own.end("kill");
  },

  async "heartbeats, both ways"({ open }) {
    if (env.protocol !== "json") return; // they are calls like others
    const own = await server("origins=*&heartbeat=2s");
    const s = open({ heartbeat: 2000 }, own.url);
    await s.ready;
    await eventually(async () => (await s.call("/beats")) >= 1);
    equal(s.state, "open");
    const closed = event(s, "close");
    await own.end("stop"); // SIGSTOP: it neither answers nor closes
    equal((await closed).reason, "no sign of life for 2000 ms");
    await own.end("kill");
  },

  async "refused by its origin"({ open }) {
    if (!globalThis.location) return; // Node sends none
    const own = await server("");
    const s = open({ reconnect: false }, own.url);
    const err = await rejection(s.ready);
    equal([err.code, (await s.closed).code], [105, 1006]);
    await own.end("kill");
  },

  async "a server that speaks another sub-protocol"({ open }) {
    const other = { ...env.lib[env.protocol], name: "teleport.none" };
    const s = open({ protocols: [other], reconnect: false });
    equal((await rejection(s.ready)).code, 105);
    const second = open({ protocols: [other, env.lib[env.protocol]] });
    equal(await second.call("/math/add", [1]), 1);
    equal(second.protocol, `teleport.${env.protocol}`);
  },
};
