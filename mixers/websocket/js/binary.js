// Bodies as bytes with a codec, and what the binary protocols have in common beside that:
// errors are metadata.

import { readError, readMeta, writeMeta } from "./message.js";

export const codecs = { none: 0, json: 106, plain: 115 };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

export const utf8 = (text) => encoder.encode(text);
export const text = (bytes) => decoder.decode(bytes);
/** Throws for what is not UTF-8. */
export const strictText = (bytes) => strict.decode(bytes);

/** A body that is bytes: those; null for any other. */
export function bytesOf(body) {
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  return ArrayBuffer.isView(body) ? new Uint8Array(body.buffer, body.byteOffset, body.byteLength) : null;
}

/**
 * The body of a message that is sent: bytes travel as they are, all else as JSON. The
 * message gets its size.
 */
export function encodeBody(message) {
  const encoded = encode(message);
  message.size = encoded.bytes.length;
  return encoded;
}

function encode({ body, error }) {
  if (error || body === undefined) return { codec: codecs.none, bytes: new Uint8Array(0) };
  const bytes = bytesOf(body);
  if (bytes) return { codec: codecs.none, bytes };
  const json = JSON.stringify(body);
  if (json === undefined) throw new Error(`a ${typeof body} is no body`);
  return { codec: codecs.json, bytes: utf8(json) };
}

/** The body of a message that was received: of other codecs than JSON and plain it is bytes. */
export function decodeBody(codec, bytes) {
  if (codec === codecs.plain) return strictText(bytes);
  if (bytes.length === 0) return undefined;
  return codec === codecs.json ? JSON.parse(strictText(bytes)) : bytes;
}

/** The metadata of a message that is sent, with its error. */
export function encodeMeta({ meta, error }) {
  if (!error) return utf8(writeMeta(meta));
  const all = new URLSearchParams(meta);
  const { code, message, reason } = error;
  all.set("X-Reply-Error", JSON.stringify({ code, message: message || undefined, reason: reason || undefined }));
  return utf8(writeMeta(all));
}

/** Metadata, error and body of a message that was received. */
export function readParts(query, codec, bytes, filters = []) {
  const meta = readMeta(text(query));
  const value = meta.get("X-Reply-Error");
  meta.delete("X-Reply-Error");
  return {
    meta,
    codec,
    error: value === null ? undefined : readError(parse(value), meta.has("X-Not-Run")),
    size: () => bytes.length,
    read(asBytes) {
      if (filters.length > 0) throw new Error(`the body has the filters ${[...filters]}, which are unknown here`);
      return asBytes ? bytes : decodeBody(codec, bytes);
    },
  };
}

// parse returns the text itself if it is not JSON.
function parse(value) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
