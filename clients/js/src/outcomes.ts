/** What became of a publish, in one word: for applications that want a status and no exceptions. Pure. */

import { HeadraceError } from "./errors.js";
import type { Published } from "./messages.js";

/**
 * OK: it is in the log, once. DENIED: it is not, the token does not allow it. NO_SUBSCRIBER: it is not, nobody would get it
 * and the project refuses such publishes. FAILED: it is not, for another reason. TIMEOUT: it may be, the client gave up
 * waiting; `Client.retry` is safe.
 */
export type Outcome = "OK" | "FAILED" | "DENIED" | "NO_SUBSCRIBER" | "TIMEOUT";

/** The word for what a publish resolved or rejected with. */
export function outcomeOf(result: Published | HeadraceError): Outcome {
  if (!(result instanceof HeadraceError)) return "OK";
  if (result.maybeStored) return "TIMEOUT";
  if (result.code === "forbidden" || result.code === "unauthorized") return "DENIED";
  return result.code === "no_subscriber" ? "NO_SUBSCRIBER" : "FAILED";
}
