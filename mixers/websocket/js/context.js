// What a handler gets beside the body.

import { TeleportError } from "./message.js";

export class Context {
  #ended; // the signal of the connection
  #controller = null; // made when a handler asks for the signal
  #gone; // the error of a caller that has given up
  #release = () => {};

  constructor(ended, fields) {
    this.#ended = ended;
    Object.assign(this, fields);
  }

  get signal() {
    if (this.#controller) return this.#controller.signal;
    const controller = (this.#controller = new AbortController());
    const ended = this.#ended;
    const onEnd = () => controller.abort(ended.reason);
    if (ended.aborted) onEnd();
    if (this.#gone) controller.abort(this.#gone);
    ended.addEventListener("abort", onEnd);
    const ms = Number(this.meta.get("X-Timeout"));
    const timer = ms > 0 && ms < 2 ** 31 ? setTimeout(() => controller.abort(new TeleportError(408)), ms) : undefined;
    this.#release = () => {
      ended.removeEventListener("abort", onEnd);
      clearTimeout(timer);
    };
    return controller.signal;
  }

  /** Aborts the signal: nobody waits for the handler any more. */
  static abort(context, error) {
    context.#gone ??= error;
    context.#controller?.abort(error);
  }

  /** Whether the caller has given up. */
  static gone(context) {
    return context.#gone !== undefined;
  }

  /** Releases what the signal of a context holds, once its handler is done. */
  static end(context) {
    context.#release();
  }
}
