/** What one topic brings to the application: to its handlers at once, or through a bounded queue to an iterator. */

import { ClientError, type HeadraceError } from "./errors.js";
import { type Gap, Message, type Started } from "./messages.js";
import { isPosition, type Position, type Since } from "./positions.js";
import { Queue } from "./queue.js";

/** Items waiting for an iterator, above which the topic is put aside until it has caught up. */
export const MAX_QUEUED = 1024;

/** Handlers are called in stream order. Without `onGap` a gap is written to the console as a warning. */
export interface Handlers {
  /** With it, messages go here and are not queued for iteration. */
  readonly onMessage?: ((message: Message) => void) | undefined;
  readonly onGap?: ((gap: Gap) => void) | undefined;
  /** A node has placed the subscription: the first time, and after every reconnect. */
  readonly onStarted?: ((started: Started) => void) | undefined;
  /** The subscription is over: by the server's word with its error, or because it was closed. */
  readonly onEnd?: ((error: HeadraceError | undefined) => void) | undefined;
}

export interface Owner {
  subscriptionFull(subscription: Subscription): void;
  subscriptionDrained(subscription: Subscription): void;
  subscriptionClosed(subscription: Subscription): void;
}

interface Queued {
  readonly item: Message | Gap | Started;
  readonly position: Position | undefined;
}

/**
 * A topic's messages in the log's order, each once, over all reconnects.
 *
 * `for await (const message of subscription)` iterates messages, `subscription.events()` messages and gaps. When the
 * server ends the subscription, the iteration throws its error; after `close` it just ends.
 */
export class Subscription implements AsyncIterable<Message> {
  /** Resolves when the server has placed the subscription: every later publish will be seen. Rejects if it refuses. */
  readonly started: Promise<Started>;
  #settleStarted!: { resolve: (started: Started) => void; reject: (error: HeadraceError) => void };
  #position: Position | undefined;
  #queue = new Queue<Queued>();
  #full = false;
  #over = false;
  #error: HeadraceError | undefined;
  #wake: (() => void) | undefined;

  constructor(
    private readonly owner: Owner,
    readonly topic: string,
    private readonly handlers: Handlers,
  ) {
    this.started = new Promise((resolve, reject) => (this.#settleStarted = { resolve, reject }));
    this.started.catch(() => undefined); // not everybody waits for it
  }

  /** The place after the last item handed over: present it as `since` to go on from there, in any client. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Follow no longer; what is queued is dropped. Idempotent. */
  close(): void {
    if (this.#over) return;
    this.owner.subscriptionClosed(this);
    this.#queue.replace([]);
    this.end(undefined);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, void> {
    for await (const item of this.events()) {
      if (item instanceof Message) yield item;
      else this.#tellGap(item);
    }
  }

  /** Iterate messages and gaps, in stream order. */
  async *events(): AsyncGenerator<Message | Gap, void, void> {
    for (;;) {
      for (let queued = this.#take(); queued; queued = this.#take()) {
        if ("after" in queued.item) this.handlers.onStarted?.(queued.item);
        else yield queued.item;
      }
      if (this.#over && this.#error) throw this.#error;
      if (this.#over) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #take(): Queued | undefined {
    const queued = this.#queue.shift();
    if (!queued) return undefined;
    this.#position = queued.position;
    if (this.#full && 2 * this.#queue.length <= MAX_QUEUED) {
      this.#full = false;
      this.owner.subscriptionDrained(this);
    }
    return queued;
  }

  #tellGap(gap: Gap): void {
    if (this.handlers.onGap) this.handlers.onGap(gap);
    else console.warn(`headrace: gap in ${gap.topic} (${gap.recovery})`, JSON.stringify(gap.missing));
  }

  /** Called by the client: the server's answer came, the first or that after a reconnect. */
  start(started: Started, resume: Since): void {
    this.#settleStarted.resolve(started);
    if (this.handlers.onStarted && this.handlers.onMessage) this.handlers.onStarted(started);
    else if (this.handlers.onStarted) {
      this.#queue.push({ item: started, position: isPosition(resume) ? resume : undefined });
      this.#wake?.();
    }
    if (!this.#position && this.#queue.length === 0) this.#position = started.after;
  }

  /** Called by the client: hand over or queue an item. */
  push(item: Message | Gap, resume: Since): void {
    const position = isPosition(resume) ? resume : undefined;
    if (this.handlers.onMessage) {
      this.#position = position;
      if (item instanceof Message) this.handlers.onMessage(item);
      else this.#tellGap(item);
      return;
    }
    this.#queue.push({ item, position });
    this.#wake?.();
    if (this.#full || this.#queue.length < MAX_QUEUED) return;
    this.#full = true;
    this.owner.subscriptionFull(this);
  }

  /** Called by the client: nothing more will come; what is queued can still be iterated. */
  end(error: HeadraceError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#settleStarted.reject(error ?? new ClientError("client_closed", "The subscription was closed."));
    this.#wake?.();
    this.handlers.onEnd?.(error);
  }
}
