/** What one durable subscription brings to the application: a bounded queue, and deliveries that want to be settled. */

import type { Settling } from "./consuming.js";
import { ClientError, type HeadraceError } from "./errors.js";
import type { Attached, Lease, Message } from "./messages.js";
import { Queue } from "./queue.js";

export interface ConsumerOwner {
  settle(settling: Settling): Promise<void>;
  consumerClosed(consumer: Consumer): void;
}

/**
 * A message that is leased to this client until it is settled, or its lease ends.
 *
 * The three verbs resolve with the server's answer. They reject with `lease_lost` where the lease had ended, for the
 * message may be in other hands by now. What is settled in one turn is one request.
 */
export class Delivery {
  readonly message: Message;
  /** Counted from 1. */
  readonly attempt: number;
  readonly #ack: string;

  constructor(
    private readonly owner: ConsumerOwner,
    readonly subscription: string,
    { message, attempt, ack }: Lease,
  ) {
    this.message = message;
    this.attempt = attempt;
    this.#ack = ack;
  }

  /** It is done: it will not be delivered again. */
  ack(): Promise<void> {
    return this.owner.settle({ verb: "ack", subscription: this.subscription, ack: this.#ack });
  }

  /** Give it back, to be delivered again after `delayMs`, or as the subscription's retry policy says. */
  nack(delayMs?: number): Promise<void> {
    return this.owner.settle({ verb: "nack", subscription: this.subscription, ack: this.#ack, argument: delayMs });
  }

  /** Keep it for `seconds` from now. */
  extend(seconds: number): Promise<void> {
    return this.owner.settle({ verb: "extend", subscription: this.subscription, ack: this.#ack, argument: seconds });
  }
}

/**
 * Deliveries of a subscription, over all reconnects: each message at least once until it is acked.
 *
 * `for await (const delivery of consumer)`. When the server ends it (the subscription was deleted, the right was revoked)
 * the iteration throws the error; after `close` it just ends.
 */
export class Consumer implements AsyncIterable<Delivery> {
  /** Resolves when the server delivers. Rejects if it refuses. */
  readonly attached: Promise<Attached>;
  #settleAttached!: { resolve: (attached: Attached) => void; reject: (error: HeadraceError) => void };
  readonly #queue = new Queue<Lease>();
  #over = false;
  #error: HeadraceError | undefined;
  #wake: (() => void) | undefined;

  constructor(
    private readonly owner: ConsumerOwner,
    readonly subscription: string,
    /** Deliveries that are unsettled at once. */
    readonly window: number,
  ) {
    this.attached = new Promise((resolve, reject) => (this.#settleAttached = { resolve, reject }));
    this.attached.catch(() => undefined); // not everybody waits for it
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Delivery, void, void> {
    for (;;) {
      for (let lease = this.#queue.shift(); lease; lease = this.#queue.shift()) yield this.#delivery(lease);
      if (this.#over && this.#error) throw this.#error;
      if (this.#over) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /**
   * Consume no longer. What is queued is given back at once and counts as never delivered; what was taken can still be
   * settled. Idempotent.
   */
  close(): void {
    if (this.#over) return;
    const ignore = (): void => undefined; // what was given back in vain comes again when its lease ends
    const { owner, subscription } = this;
    for (const { ack } of this.#queue) owner.settle({ verb: "release", subscription, ack }).catch(ignore);
    this.#queue.replace([]);
    this.owner.consumerClosed(this);
    this.end(undefined);
  }

  #delivery(lease: Lease): Delivery {
    return new Delivery(this.owner, this.subscription, lease);
  }

  /** Called by the client: the server delivers, for the first time or after a reconnect. */
  start(attached: Attached): void {
    this.#settleAttached.resolve(attached);
  }

  /** Called by the client. */
  push(leases: readonly Lease[]): void {
    for (const lease of leases) this.#queue.push(lease);
    // Each reconnect brings another window. The oldest are let go: they come again when their leases end.
    while (this.#queue.length > 2 * this.window) this.#queue.shift();
    this.#wake?.();
  }

  /** Called by the client: nothing more will come; what is queued can still be iterated. */
  end(error: HeadraceError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#settleAttached.reject(error ?? new ClientError("client_closed", "The consumer was closed."));
    this.#wake?.();
  }
}
