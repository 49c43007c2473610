// Options and their checks.

import { json } from "./json.js";
import { maxWindows } from "./stream.js";

export const defaults = {
  protocols: [json],
  WebSocket: undefined,
  routes: {},
  streams: {},
  setup: undefined,
  timeout: 30_000,
  waitTimeout: 10_000,
  connectTimeout: 30_000,
  heartbeat: 0,
  reconnect: true,
  resume: undefined,
  maxCalls: 10_000,
  maxMessage: 64 << 20,
  streamWindow: 256 << 10,
  warn: (text) => console.warn(text),
};

export const reconnectDefaults = { min: 500, max: 30_000, attempts: Infinity, when: mayReconnect };

// Whether another connection may end otherwise. A refusal by 1008 says why, or is for good.
function mayReconnect({ code, error }) {
  return code === 1008 ? error !== undefined : ![1000, 1002, 1003, 1007].includes(code);
}

/** The options with their defaults; throws for one that is unknown. */
export function withDefaults(what, defaults, options) {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(defaults, name)) throw new TypeError(`${what}: there is no option ${name}, only ${Object.keys(defaults).join(", ")}`);
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) };
}

/** The longest time of setTimeout, in ms; beyond that it fires at once. */
export const maxTimer = 2 ** 31 - 1;

export function duration(name, ms) {
  if (!(ms > 0)) throw new TypeError(`${name} is ${ms}: want milliseconds above 0, or Infinity`);
}

export function windowSize(name, bytes) {
  if (!(Number.isInteger(bytes) && bytes > 0 && bytes <= maxWindows)) throw new TypeError(`${name} is ${bytes}: want bytes, 1 to ${maxWindows}`);
}

/** Resolves a URL against the page's, and makes http: and https: of it ws: and wss:. */
export function absolute(url) {
  const u = new URL(url, globalThis.location?.href);
  u.protocol = u.protocol.replace("http", "ws");
  if (!/^wss?:$/.test(u.protocol)) throw new TypeError(`connect: ${u.href} is no URL of ws:, wss:, http: or https:`);
  u.hash = "";
  return u.href;
}
