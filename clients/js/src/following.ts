/**
 * Following one topic: where the client stands in it, what it drops, what it reports. Pure (protocol/realtime.md 4).
 *
 * `resume` is the `since` that the next subscribe presents. It starts as what the application asked for and is a position
 * from the first `subscribed` on, so that a connection can end at any moment without a loss or a repeat.
 *
 * While the client moves to another node, the topic is asked for there and goes on coming from here (`overlaps`), until
 * the new node has answered.
 */

import type { Gap, Message, Started } from "./messages.js";
import { afterGap, isPosition, type Range, type Recovery, type Since } from "./positions.js";

/**
 * idle: not asked for on this connection. asked: a subscribe is on its way. live: frames count. parked: the application
 * is behind, frames are dropped until it has caught up and the topic is asked for again.
 */
export type Phase = "idle" | "asked" | "live" | "parked";

export class Following {
  phase: Phase = "idle";
  /** The id of the subscribe that counts; answers to earlier ones do not. */
  request = -1;
  /** Monotonic milliseconds at which to ask again. */
  retryAt: number | undefined;
  /** Whether frames of the connection that is being left count. */
  overlaps = false;
  /** The `resume` of the latest subscribe. */
  #presented: Since | undefined;

  constructor(
    readonly topic: string,
    public resume: Since,
    /** Whether the answer is to bring the topic's newest retained message. */
    readonly snapshot = false,
  ) {}

  ask(request: number): void {
    this.phase = "asked";
    this.request = request;
    this.retryAt = undefined;
    this.#presented = this.resume;
  }

  /** The connection ended: keep the place, ask again on the next one (unless parked). */
  drop(): void {
    this.retryAt = undefined;
    this.overlaps = false;
    if (this.phase !== "parked") this.phase = "idle";
  }

  /** Another connection takes over: ask there, and listen here meanwhile. */
  move(): void {
    const overlaps = this.phase === "live";
    this.drop();
    this.overlaps = overlaps;
  }

  wait(until: number): void {
    this.phase = "idle";
    this.retryAt = until;
  }

  /** Whether the old connection has brought the place so far that this answer cannot be joined to it. */
  hasOutrun({ after, recovery }: Started): boolean {
    const here = this.resume;
    if (here === this.#presented) return false;
    const joins = isPosition(here) && here.epoch === after.epoch && here.offset >= after.offset;
    return !(joins && recovery === "complete");
  }

  /** Take the place that the server gave, and return what the application must hear of. */
  receiveSubscribed(started: Started, missing: readonly Range[]): Gap | undefined {
    const isAhead = this.resume !== this.#presented;
    this.phase = "live";
    this.overlaps = false;
    if (!isAhead) this.resume = started.after; // else an old connection brought more: what is repeated of it is dropped
    const { recovery } = started;
    return recovery === "complete" || recovery === "none" ? undefined : { topic: this.topic, recovery, missing };
  }

  /** Whether frames count; `leaving`: those of the connection that is being left. */
  #counts(leaving: boolean): boolean {
    return leaving ? this.overlaps : this.phase === "live";
  }

  /** Tell whether the message is new; if so, the place is right after it. */
  receiveMessage({ position }: Message, { leaving } = { leaving: false }): boolean {
    if (!this.#counts(leaving)) return false;
    const { resume } = this;
    if (isPosition(resume) && resume.epoch === position.epoch && position.offset <= resume.offset) return false;
    this.resume = position;
    return true;
  }

  receiveGap(recovery: Recovery, missing: readonly Range[], { leaving } = { leaving: false }): Gap | undefined {
    if (!this.#counts(leaving)) return undefined;
    this.resume = afterGap(recovery, missing);
    return { topic: this.topic, recovery, missing };
  }
}
