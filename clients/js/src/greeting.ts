/**
 * The `hello` of a connection. With a token nothing else is sent until it is accepted: the rest would be refused. Pure.
 *
 * A browser's WebSocket has no headers, and a token does not belong into a URL, so the first frame carries it.
 */

import { type HeadraceError, isTemporary } from "./errors.js";
import { DEFAULT_RETRY_MS } from "./outbox.js";
import type { Requests } from "./requests.js";

export class Greeting {
  #id: number | undefined;
  #frame = "";
  #dueAt: number | undefined;

  constructor(
    private readonly requests: Requests,
    private readonly client: string,
  ) {}

  /** Whether a token is being checked. */
  get isOpen(): boolean {
    return this.#id !== undefined;
  }

  /** When the `hello` is to be sent (again), in monotonic milliseconds. */
  get dueAt(): number | undefined {
    return this.#dueAt;
  }

  /** A connection begins. */
  begin(now: number, token: string | undefined): void {
    const id = this.requests.next();
    const hello = { op: "hello", id, client: this.client };
    this.#id = token === undefined ? undefined : id;
    this.#dueAt = token === undefined ? undefined : now;
    this.#frame = JSON.stringify({ ...hello, token });
    if (token === undefined) this.requests.send(hello);
  }

  /** The connection is gone. */
  end(): void {
    this.#id = this.#dueAt = undefined;
    this.#frame = "";
  }

  /** Return the frame to write now, alone, while a token is being checked. */
  take(now: number): string[] {
    if (this.#dueAt === undefined || now < this.#dueAt) return [];
    this.#dueAt = undefined;
    return [this.#frame];
  }

  /** Tell whether this `ok` accepted the token. */
  receiveOk(id: number): boolean {
    if (this.#id === undefined || id !== this.#id) return false;
    this.end();
    return true;
  }

  /**
   * Tell whether the refusal was that of the `hello`. One for now (the token's keys cannot be fetched) is asked again;
   * after one for good the server closes the connection.
   */
  receiveRefusal(id: number, error: HeadraceError, now: number): boolean {
    if (this.#id === undefined || id !== this.#id) return false;
    if (isTemporary(error)) this.#dueAt = now + (error.retryMs ?? DEFAULT_RETRY_MS);
    return true;
  }
}
