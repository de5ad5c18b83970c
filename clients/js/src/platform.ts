/** What the surroundings provide. Browsers have all of it; `node.ts` fills in what an older Node lacks. */

import type { SocketClass } from "./connector.js";

export interface Platform {
  WebSocket: SocketClass | undefined;
  randomBytes: (count: number) => Uint8Array;
}

export const platform: Platform = {
  WebSocket: globalThis.WebSocket as SocketClass | undefined,
  randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
};
