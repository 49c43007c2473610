// A server by npm's ws, without teleport.js, for TestOursDials: it prints its port, and ends
// with its stdin.

import { WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: true,
  handleProtocols: (names) => names.has("teleport.json") && "teleport.json",
});
server.on("listening", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume();

server.on("connection", (ws) => {
  let seq = 0;
  const asked = new Map();
  const send = (m) => ws.send(JSON.stringify(m));
  const routes = {
    "/upper": (m) => send({ seq: m.seq, body: m.body.toUpperCase() }),
    "/fail": (m) => send({ seq: m.seq, error: m.body }),
    "/asks": (m) => {
      asked.set(++seq, (reply) => send({ seq: m.seq, body: reply.error ?? reply.body }));
      send({ seq, serviceMethod: m.body, body: "who?" });
    },
    "/pushes": (m) => {
      send({ serviceMethod: "/note", body: m.body });
      send({ seq: m.seq });
    },
    "/fragments": (m) => {
      ws.send(`{"seq":${m.seq},`, { fin: false });
      ws.ping("among fragments");
      ws.once("pong", (data) => ws.send(`"body":"${data}"}`, { fin: true }));
    },
    "/close": (m) => ws.close(m.body, "as asked"),
  };
  ws.on("message", (data) => {
    const m = JSON.parse(data);
    if (m.mtype === 2) asked.get(m.seq)(m);
    else routes[m.serviceMethod](m);
  });
});
