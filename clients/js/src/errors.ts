/**
 * Every failure that this library raises. `code` is the protocol's stable word: compare that, never the text.
 * `CallerError`: fix the request. `ServerError`: come back later. `ClientError`: raised here, no server said it.
 */

export class HeadraceError extends Error {
  override readonly name: string = "HeadraceError";

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

/** `client_closed`, `publish_timeout` (stored or not, unknown), `queue_full`, `refused`, `bad_frame`, `connection_failed`. */
export class ClientError extends HeadraceError {
  override readonly name = "ClientError";
}

const SERVER_CODES = new Set(["unavailable", "unknown_outcome", "out_of_memory"]);
const RETRIED_CODES = new Set(["unavailable", "unknown_outcome"]);

export function errorOf(code: string, reason: string, retryMs?: number): HeadraceError {
  return new (SERVER_CODES.has(code) ? ServerError : CallerError)(code, reason, retryMs);
}

/** Whether the same request is to be sent again. */
export function isTemporary(error: HeadraceError): boolean {
  return error.retryMs !== undefined || RETRIED_CODES.has(error.code);
}

export function badFrame(reason: string): ClientError {
  return new ClientError("bad_frame", reason);
}
