// Runs the cases without a browser: node node.mjs URL-OF-CASES ENV [CASE]. The environment is JSON;
// with "ws" in it the WebSockets are those of npm's ws.

import { connect, json, TeleportError } from "@teleport-go/websocket";
import { pb } from "@teleport-go/websocket/pb.js";
import { raw } from "@teleport-go/websocket/raw.js";
import { resume } from "@teleport-go/websocket/resume.js";

const [cases, env, only] = process.argv.slice(2);
const { run } = await import(cases);
const { ws, ...rest } = JSON.parse(env);
const options = ws ? { WebSocket: (await import("ws")).WebSocket } : {};
const results = await run({ lib: { connect, TeleportError, json, raw, pb, resume }, options, ...rest }, only);
process.stdout.write(JSON.stringify(results), () => process.exit()); // whatever a failed case has left
