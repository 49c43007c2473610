import { connect, TeleportError } from "./teleport/teleport.js";

const $ = (id) => document.getElementById(id);

// Who this page is, and where: entered on each connection, so also after a server restart.
const key = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
let here = null; // { name, room, key } once entered

const session = connect("./ws", {
  heartbeat: 20_000,
  setup: async (first) => {
    if (here) here.name = await first.call("/chat/enter", here);
  },
  routes: {
    // What the server pushes.
    "/chat/heard": ({ from, text }) => write(from, text),
    "/chat/online": (names) => $("online").replaceChildren(...names.map((name) => element("li", name))),
    "/chat/left": (why) => leave(why),
    // What the server asks.
    "/chat/name": (question, { signal }) => ask(question, true, signal),
    "/chat/there": (question, { signal }) => ask(question, false, signal),
  },
});

session.addEventListener("open", ({ reconnected }) => {
  showState("connected", true);
  if (reconnected && here) write("", "The connection is back.");
});
session.addEventListener("close", ({ final, reason, error }) => {
  showState(final ? "closed" : "reconnecting …", false);
  if (here && !final) write("", "The connection is lost.");
  if (final) $("problem").textContent = error?.reason || reason;
});

$("entry").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wish = { name: $("name").value, room: $("room").value, key };
  $("problem").textContent = "";
  try {
    // Until somebody has answered, should the name be taken.
    wish.name = await session.call("/chat/enter", wish, { timeout: 300_000 });
  } catch (err) {
    $("problem").textContent = words(err);
    return;
  }
  here = wish;
  $("entry").hidden = true;
  $("inside").hidden = false;
  $("text").focus();
});

$("saying").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value;
  $("text").value = "";
  try {
    await session.call("/chat/say", text); // while there is no connection, it waits for one
  } catch (err) {
    write("", `Not said: ${text} (${words(err)})`);
  }
});

$("leave").addEventListener("click", () => {
  session.call("/chat/leave").catch((err) => write("", words(err)));
  leave("");
});

function leave(why) {
  here = null;
  $("inside").hidden = true;
  $("entry").hidden = false;
  $("log").replaceChildren();
  $("problem").textContent = why;
}

// ask shows a question until it is answered, or its time is over; one after the other.
let asked = Promise.resolve();
function ask(question, withReply, signal) {
  const answer = asked.then(() => show(question, withReply, signal));
  asked = answer.catch(() => {});
  return answer;
}

function show(question, withReply, signal) {
  signal.throwIfAborted();
  const dialog = $("dialog");
  $("question").textContent = question;
  $("reply").hidden = !withReply;
  $("reply").value = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => dialog.close());
    const answered = () => (signal.aborted ? reject(signal.reason) : resolve($("reply").value));
    dialog.addEventListener("close", answered, { once: true });
  });
}

function write(from, text) {
  const line = from ? element("li", "", element("b", `${from}: `), text) : element("li", text);
  line.className = from ? "" : "notice";
  $("log").append(line);
  line.scrollIntoView({ block: "nearest" });
}

// element makes an element of texts and others. Texts are never read as HTML.
function element(name, ...children) {
  const e = document.createElement(name);
  e.append(...children);
  return e;
}

function showState(state, open) {
  $("state").textContent = state;
  $("state").classList.toggle("open", open);
}

function words(err) {
  return err instanceof TeleportError ? err.reason || err.message : String(err);
}
