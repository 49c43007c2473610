import type { Protocol } from "./teleport.js";

/** teleport.pb: binary frames. Bodies that are Uint8Array travel as they are, all others as JSON. */
export const pb: Protocol;
