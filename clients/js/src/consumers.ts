/** All consumers of one client, between the state machine and the application. */

import { Consumer, type ConsumerOwner } from "./consumer.js";
import type { Consumings, Settling } from "./consuming.js";
import type { HeadraceError } from "./errors.js";
import type { ConsumingEvent } from "./events.js";

/** How long an ack, nack or extend is tried, reconnects included. */
const SETTLE_TIMEOUT_MS = 30_000;

export interface ConsumersWiring {
  /** Throws what ended the client. */
  readonly checkOpen: () => void;
  /** Has what was queued written. */
  readonly wake: () => void;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

interface Receipt {
  readonly resolve: () => void;
  readonly reject: (error: HeadraceError) => void;
}

export class Consumers implements ConsumerOwner {
  readonly #consumers = new Map<string, Consumer>();
  readonly #receipts = new Map<number, Receipt>();

  constructor(
    private readonly consumings: Consumings,
    private readonly wiring: ConsumersWiring,
  ) {}

  consume(subscription: string, window: number): Consumer {
    this.wiring.checkOpen();
    this.consumings.attach(subscription, window);
    const consumer = new Consumer(this, subscription, window);
    this.#consumers.set(subscription, consumer);
    this.wiring.wake();
    return consumer;
  }

  settle(settling: Settling): Promise<void> {
    return new Promise((resolve, reject) => {
      this.wiring.checkOpen(); // a throw in here rejects
      const ticket = this.consumings.settle(settling, this.wiring.now() + SETTLE_TIMEOUT_MS);
      this.#receipts.set(ticket, { resolve, reject });
      this.wiring.wake();
    });
  }

  consumerClosed({ subscription }: Consumer): void {
    this.#consumers.delete(subscription);
    this.consumings.detach(subscription);
    this.wiring.wake();
  }

  /** Hand over what the state machine says. */
  act(event: ConsumingEvent): void {
    if (event.type === "settled") this.#settled(event.ticket, event.error);
    else if (event.type === "delivered") this.#consumers.get(event.subscription)?.push(event.leases);
    else if (event.type === "attached") this.#consumers.get(event.attached.subscription)?.start(event.attached);
    else {
      this.#consumers.get(event.subscription)?.end(event.error.code === "client_closed" ? undefined : event.error);
      this.#consumers.delete(event.subscription);
    }
  }

  #settled(ticket: number, error: HeadraceError | undefined): void {
    const receipt = this.#receipts.get(ticket);
    this.#receipts.delete(ticket);
    if (error) receipt?.reject(error);
    else receipt?.resolve();
  }
}
