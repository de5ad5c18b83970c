/**
 * Every failure that this library raises. `code` is the protocol's stable word: compare that, never the text.
 * `CallerError`: fix the request. `ServerError`: come back later. `ClientError`: raised here, no server said it.
 */

export class HeadraceError extends Error {
  override readonly name: string = "HeadraceError";
  /** Of a publish: whether the message may be in the log all the same. */
  maybeStored = false;
  /** Of a publish whose outcome is unknown: what `Client.retry` sends again. */
  unsettled: unknown;

  constructor(
    readonly code: string,
    message: string,
    /** Milliseconds after which the same request may succeed. */
    readonly retryMs?: number,
  ) {
    super(message);
  }
}

export class CallerError extends HeadraceError {
  override readonly name = "CallerError";
}

export class ServerError extends HeadraceError {
  override readonly name = "ServerError";
}

/**
 * `client_closed`, `publish_timeout`, `queue_full`, `dropped` (for a newer one), `refused`, `bad_frame`,
 * `connection_failed`.
 */
export class ClientError extends HeadraceError {
  override readonly name = "ClientError";
}

const SERVER_CODES = new Set(["unavailable", "unknown_outcome", "out_of_memory"]);
const RETRIED_CODES = new Set(["unavailable", "unknown_outcome"]);

const UNSURE_CODES = new Set(["unknown_outcome", "stale_sequence"]);

export function errorOf(code: string, reason: string, retryMs?: number): HeadraceError {
  const error = new (SERVER_CODES.has(code) ? ServerError : CallerError)(code, reason, retryMs);
  error.maybeStored = UNSURE_CODES.has(code);
  return error;
}

/** The same error, with what is known of one publish. */
export function errorFor(error: HeadraceError, maybeStored: boolean, unsettled: unknown): HeadraceError {
  if (!maybeStored) return error;
  const kinds = [CallerError, ServerError, ClientError, HeadraceError];
  const kind = kinds.find((each) => error instanceof each) ?? HeadraceError;
  const told = new kind(error.code, error.message, error.retryMs);
  told.maybeStored = true;
  told.unsettled = unsettled;
  return told;
}

/** Whether the same request is to be sent again. */
export function isTemporary(error: HeadraceError): boolean {
  return error.retryMs !== undefined || RETRIED_CODES.has(error.code);
}

export function badFrame(reason: string): ClientError {
  return new ClientError("bad_frame", reason);
}
