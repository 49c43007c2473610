import type { Resume } from "./teleport.js";

/**
 * The value of the option resume of connect: sessions that outlive their connections, with a
 * server whose websocket.Options.Resume are the streams of mixers/resume. When a connection
 * breaks, another one takes its place: calls, pushes, streams and handlers on either side go
 * on. With any other server sessions are as without.
 *
 * @throws TypeError for a bad option.
 */
export function resume(options?: ResumeOptions): Resume;

export interface ResumeOptions {
  /**
   * How long a session without a connection waits for another one, in ms, before that ends as
   * without resume. Also how long a session that the page has closed sends on what the server
   * has not received, and 1.5 s more at most; it ends at once when the server has received all,
   * and after 1.5 s in which it has received nothing. Default: 30,000.
   */
  window?: number;
  /** How many bytes may be under way that the server has not acknowledged: at least 128 KiB. Default: 1 MiB. */
  buffer?: number;
  /** How long nothing is sent before the page says that it is alive, in ms; shorter than the server's IdleTimeout. Default: 5,000. */
  keepAlive?: number;
  /** How long nothing may arrive before a connection counts as broken, in ms; longer than the server's KeepAlive. Default: 15,000. */
  idleTimeout?: number;
}
