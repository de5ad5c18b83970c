/** What a client's state machine has to say to its shell. */

import type { HeadraceError } from "./errors.js";
import type { Server } from "./failover.js";
import type { Welcome } from "./frames.js";
import type { Attached, Gap, Lease, Message, Published, Started } from "./messages.js";
import type { Since } from "./positions.js";

/** What concerns durable subscriptions. */
export type ConsumingEvent =
  | { readonly type: "attached"; readonly attached: Attached }
  | { readonly type: "delivered"; readonly subscription: string; readonly leases: readonly Lease[] }
  | { readonly type: "released"; readonly subscription: string; readonly error: HeadraceError }
  | { readonly type: "settled"; readonly ticket: number; readonly error: HeadraceError | undefined };

/** `P` and `F` are the shell's handles of a publish and of a subscription. */
export type Event<P, F> =
  | ConsumingEvent
  | { readonly type: "welcomed"; readonly welcome: Welcome }
  | { readonly type: "listed"; readonly servers: readonly Server[] }
  | { readonly type: "draining"; readonly spreadMs: number }
  | { readonly type: "accepted" } // the token, by the server's `ok`
  | { readonly type: "answered"; readonly handle: P; readonly result: Published | HeadraceError }
  | { readonly type: "arrived"; readonly handle: F; readonly item: Message | Gap; readonly resume: Since }
  | { readonly type: "started"; readonly handle: F; readonly started: Started; readonly resume: Since }
  | { readonly type: "ended"; readonly handle: F; readonly error: HeadraceError }
  | { readonly type: "complained"; readonly error: HeadraceError }
  | { readonly type: "broken"; readonly reason: string };
