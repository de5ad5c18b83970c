/** All publishes of one client, between the state machine and the application: promises, and waiting for room. */

import { ClientError, HeadraceError } from "./errors.js";
import type { Payload, Published } from "./messages.js";
import { MAX_PENDING, MAX_PENDING_BYTES, type Protocol, type PublishOptions, type QueueBounds } from "./protocol.js";
import type { Pending } from "./outbox.js";

/** How long a publish is tried by default, reconnects included. */
export const PUBLISH_TIMEOUT_MS = 30_000;

export interface PublishCall extends Payload, PublishOptions {
  /** Milliseconds until the publish is given up, reconnects included; 30,000 by default. */
  readonly timeoutMs?: number | undefined;
}

/**
 * What may wait for an answer, and what becomes of a publish for which there is no room. fail: it rejects with
 * `queue_full`. block: it waits for room, in its turn. drop: the oldest message that was never sent gives way, and its
 * publish rejects with `dropped`.
 */
export interface PublishQueue extends QueueBounds {
  readonly whenFull: "fail" | "block" | "drop";
}

export const QUEUE: PublishQueue = { messages: MAX_PENDING, bytes: MAX_PENDING_BYTES, whenFull: "fail" };

export interface Answer {
  readonly resolve: (published: Published) => void;
  readonly reject: (error: HeadraceError) => void;
}

export interface Surroundings {
  readonly whenFull: PublishQueue["whenFull"];
  /** Throws what ended the client. */
  readonly checkOpen: () => void;
  /** Has what was queued written. */
  readonly wake: () => void;
  readonly now: () => number;
  /** Resolves with true when something was answered, with false after `timeoutMs`. */
  readonly untilAnswer: (timeoutMs: number) => Promise<boolean>;
}

export class Publishing<F> {
  #waiting = 0;
  #turn: Promise<void> = Promise.resolve();

  constructor(
    private readonly protocol: Protocol<Answer, F>,
    private readonly around: Surroundings,
  ) {}

  publish(topic: string, call: PublishCall): Promise<Published> {
    const deadline = this.#deadline(call.timeoutMs);
    return new Promise((resolve, reject) => {
      const enqueue = (): void => void this.protocol.publish(topic, call, call, { resolve, reject }, deadline);
      if (this.#waiting === 0 && this.#isQueued(enqueue)) return;
      this.#inTurn(enqueue, deadline).catch(reject);
    });
  }

  /** Send a publish whose outcome is unknown once more, under its old number. */
  retry(error: HeadraceError, timeoutMs: number | undefined): Promise<Published> {
    return new Promise((resolve, reject) => {
      this.around.checkOpen();
      if (error.unsettled === undefined) throw new RangeError("only a publish whose outcome is unknown is retried");
      this.protocol.publishAgain(error.unsettled as Pending<Answer>, { resolve, reject }, this.#deadline(timeoutMs));
      this.around.wake();
    });
  }

  #deadline(timeoutMs = PUBLISH_TIMEOUT_MS): number {
    return this.around.now() + timeoutMs;
  }

  /** Queue it; tell whether there was room. Throws what is wrong with it, and `queue_full` where nobody waits for room. */
  #isQueued(enqueue: () => void): boolean {
    this.around.checkOpen();
    for (;;) {
      try {
        enqueue();
        this.around.wake();
        return true;
      } catch (error) {
        if (!(error instanceof HeadraceError) || error.code !== "queue_full") throw error;
        if (this.around.whenFull === "block") return false;
        if (this.around.whenFull === "fail" || !this.#dropOldest()) throw error;
      }
    }
  }

  #dropOldest(): boolean {
    const answer = this.protocol.dropOldest(this.around.now());
    answer?.reject(new ClientError("dropped", "The message gave way to a newer one and was never sent."));
    return answer !== undefined;
  }

  /** Wait for room, one after the other: messages to one topic are stored in the order of the calls. */
  async #inTurn(enqueue: () => void, deadline: number): Promise<void> {
    const before = this.#turn;
    let done!: () => void;
    this.#turn = new Promise((resolve) => (done = resolve));
    this.#waiting += 1;
    try {
      await before;
      while (!this.#isQueued(enqueue)) {
        const leftMs = deadline - this.around.now();
        if (leftMs > 0 && (await this.around.untilAnswer(leftMs))) continue;
        throw new ClientError("publish_timeout", "The queue had no room in time; the message was not sent.");
      }
    } finally {
      this.#waiting -= 1;
      done();
    }
  }
}
