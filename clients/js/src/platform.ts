/** What the surroundings provide. Browsers have all of it; `node.ts` fills in what an older Node lacks. */

import type { SocketClass } from "./link.js";

export interface Platform {
  WebSocket: SocketClass | undefined;
  randomBytes: (count: number) => Uint8Array;
  /** Calls back when the machine has a network again; returns how to stop that. */
  onNetworkUp: (listener: () => void) => () => void;
}

export const platform: Platform = {
  WebSocket: globalThis.WebSocket as SocketClass | undefined,
  randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
  onNetworkUp: (listener) => {
    const { addEventListener: add, removeEventListener: remove } = globalThis;
    if (typeof add !== "function") return () => undefined; // Node has no such event
    add.call(globalThis, "online", listener);
    return () => remove.call(globalThis, "online", listener);
  },
};
