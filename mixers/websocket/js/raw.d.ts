import type { Protocol } from "./teleport.js";

/** teleport.raw: binary frames. Bodies that are Uint8Array travel as they are, all others as JSON. */
export const raw: Protocol;
