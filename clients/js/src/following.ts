/**
 * Following one topic: where the client stands in it, what it drops, what it reports. Pure (protocol/realtime.md 4).
 *
 * `resume` is the `since` that the next subscribe presents. It starts as what the application asked for and is a position
 * from the first `subscribed` on, so that a connection can end at any moment without a loss or a repeat.
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

  constructor(
    readonly topic: string,
    public resume: Since,
  ) {}

  ask(request: number): void {
    this.phase = "asked";
    this.request = request;
    this.retryAt = undefined;
  }

  /** The connection ended: keep the place, ask again on the next one (unless parked). */
  drop(): void {
    this.retryAt = undefined;
    if (this.phase !== "parked") this.phase = "idle";
  }

  wait(until: number): void {
    this.phase = "idle";
    this.retryAt = until;
  }

  receiveSubscribed(started: Started, missing: readonly Range[]): Gap | undefined {
    this.phase = "live";
    this.resume = started.after;
    const { recovery } = started;
    return recovery === "complete" || recovery === "none" ? undefined : { topic: this.topic, recovery, missing };
  }

  /** Tell whether the message is new; if so, the place is right after it. */
  receiveMessage({ position }: Message): boolean {
    if (this.phase !== "live") return false;
    const { resume } = this;
    if (isPosition(resume) && resume.epoch === position.epoch && position.offset <= resume.offset) return false;
    this.resume = position;
    return true;
  }

  receiveGap(recovery: Recovery, missing: readonly Range[]): Gap | undefined {
    if (this.phase !== "live") return undefined;
    this.resume = afterGap(recovery, missing);
    return { topic: this.topic, recovery, missing };
  }
}
