// teleport.json: each message is a JSON object in a text frame.
//
//     {"seq":7,"serviceMethod":"/math/add","meta":{"k":"v"},"body":[1,2,3]}
//     {"seq":7,"body":6}
//     {"seq":7,"error":{"code":404,"message":"Not Found","reason":"no user 7"}}
//     {"serviceMethod":"/chat/say","body":"hello"}
//
// Without mtype a message with error, or without serviceMethod, is a REPLY, one with seq a
// CALL, any other a PUSH. With bodyCodec the body is a string of that codec's bytes, or
// bodyBase64 if they are not UTF-8.

import { bytesOf, codecs, decodeBody, utf8 } from "./binary.js";
import { CALL, REPLY, PUSH, DATA, isSeq, readError, readMeta } from "./message.js";

export const json = {
  name: "teleport.json",

  encode(message) {
    const { type, seq, route, meta, body, error } = message;
    const out = {};
    if (type !== PUSH) out.seq = seq;
    if (type > PUSH) out.mtype = type;
    if (route) out.serviceMethod = route;
    if (!meta.keys().next().done) out.meta = metaObject(meta); // its size is unknown to browsers before 2023
    const bytes = bytesOf(body);
    if (typeof body === "function" || typeof body === "symbol") throw new Error(`a ${typeof body} is no body`);
    if (error) {
      const { code, message, reason } = error;
      out.error = { code, message, reason: reason || undefined };
    } else if (bytes) {
      out.bodyCodec = codecs.none;
      out.bodyBase64 = toBase64(bytes);
    } else {
      out.body = body === undefined && type === REPLY ? null : body;
    }
    if (type === DATA) message.size = bytes ? bytes.length : utf8(JSON.stringify(body) ?? "").length;
    return JSON.stringify(out);
  },

  decode(data) {
    if (typeof data !== "string") throw new Error(`${data.byteLength} bytes in a binary frame: teleport.json has text frames`);
    const doc = JSON.parse(data);
    if (typeof doc !== "object" || doc === null || Array.isArray(doc)) throw new Error("it is no JSON object");
    const { seq, serviceMethod, mtype } = doc;
    if (!isSeq(seq ?? 0)) throw new Error("its seq is no 32-bit integer");
    if (typeof (serviceMethod ?? "") !== "string") throw new Error("its serviceMethod is no string");
    const isReply = (doc.error ?? null) !== null || !serviceMethod;
    const type = mtype ?? (isReply ? REPLY : (seq ?? null) !== null ? CALL : PUSH);
    const meta = metaParams(doc.meta);
    const message = { type, seq: seq ?? 0, route: serviceMethod ?? "", meta, codec: doc.bodyCodec ?? codecs.json };
    message.error = readError(doc.error, meta.has("X-Not-Run"));
    message.read = (asBytes) => readBody(doc, asBytes);
    message.size = () => (isJSON(doc) ? utf8(bodyText(doc, data)) : readBody(doc, true)).length;
    return message;
  },
};

function readBody({ body, bodyCodec, bodyBase64, xferPipe }, asBytes) {
  if (xferPipe?.length > 0) throw new Error(`the body has the filters ${xferPipe}, which are unknown here`);
  const plain = isJSON({ body, bodyCodec, bodyBase64 });
  if (plain && !asBytes) return body;
  const bytes = typeof bodyBase64 === "string" ? fromBase64(bodyBase64) : utf8(plain ? (JSON.stringify(body) ?? "") : body);
  return asBytes ? bytes : decodeBody(bodyCodec ?? codecs.json, bytes);
}

// isJSON reports whether the body is JSON itself, and not a string of bytes.
function isJSON({ body, bodyCodec, bodyBase64 }) {
  return typeof bodyBase64 !== "string" && ((bodyCodec ?? null) === null || typeof body !== "string");
}

// bodyText returns the body of a document as it stands there, which the other side has
// counted: JSON.parse does not say how long it was.
function bodyText({ body }, data) {
  if (body === undefined) return "";
  let depth = 0;
  let from = -1;
  let before = "";
  for (const { 0: token, index } of data.matchAll(/"(?:[^"\\]+|\\.)*"|[{}[\]:,]|[^\s"{}[\]:,]+/g)) {
    if (depth === 1 && from >= 0 && (token === "," || token === "}")) return data.slice(from, index).trim();
    if (depth === 1 && token === ":" && before === '"body"') from = index + 1;
    if (token === "{" || token === "[") depth++;
    if (token === "}" || token === "]") depth--;
    before = token;
  }
  return data; // its key is written in another way
}

// metaObject is an object of strings, or of a list where a key comes again.
function metaObject(meta) {
  const pairs = [...new Set(meta.keys())].map((key) => [key, meta.getAll(key)]);
  return Object.fromEntries(pairs.map(([key, values]) => [key, values.length > 1 ? values : values[0]]));
}

function metaParams(meta) {
  if (typeof meta === "string") return readMeta(meta);
  if (typeof (meta ?? {}) !== "object" || Array.isArray(meta)) throw new Error("its meta is no object");
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(meta ?? {})) {
    for (const v of [value].flat()) if (v !== null) params.append(key, v);
  }
  return params;
}

function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}
