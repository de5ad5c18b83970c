/** All topics that a client follows, over its connections: asking, asking again, and what the answers mean. Pure. */

import { CallerError, type HeadraceError, isTemporary } from "./errors.js";
import type { Event } from "./events.js";
import { Following } from "./following.js";
import * as frames from "./frames.js";
import { DEFAULT_RETRY_MS } from "./outbox.js";
import type { Since } from "./positions.js";
import { idOf, type Requests } from "./requests.js";

interface Followed<F> {
  readonly following: Following;
  readonly handle: F;
}

/** `F` is the caller's name of a subscription, opaque here. */
export class Followings<P, F> {
  readonly #followed = new Map<string, Followed<F>>();
  readonly #asked = new Map<number, string>();
  readonly #retrying = new Set<Following>();

  constructor(private readonly requests: Requests) {}

  /** What is followed, and from where it would go on. */
  get places(): Map<string, Since> {
    return new Map([...this.#followed].map(([topic, { following }]) => [topic, following.resume]));
  }

  /** Whether the connection that is being left is still listened to. */
  get areMoving(): boolean {
    return [...this.#followed.values()].some(({ following }) => following.overlaps);
  }

  /** Another connection takes over: ask there for everything, and listen here until it is answered. */
  move(): void {
    this.#asked.clear();
    for (const { following } of this.#followed.values()) following.move();
    this.restart();
  }

  /** The connection that was being left is gone. */
  leave(): void {
    for (const { following } of this.#followed.values()) following.overlaps = false;
  }

  /** A connection begins: ask again for everything. */
  restart(): void {
    for (const { following } of this.#followed.values()) this.#ask(following);
  }

  /** The connection is gone: nothing that it still says counts. */
  drop(): void {
    this.#asked.clear();
    for (const { following } of this.#followed.values()) following.drop();
  }

  /** Throws `already_subscribed`. */
  follow(topic: string, since: Since, handle: F, { snapshot } = { snapshot: false }): void {
    if (this.#followed.has(topic)) {
      throw new CallerError("already_subscribed", "This client follows that topic already.");
    }
    const following = new Following(topic, since, snapshot);
    this.#followed.set(topic, { following, handle });
    this.#ask(following);
  }

  unfollow(topic: string): void {
    if (this.#forget(topic)) this.requests.send({ op: "unsubscribe", topic });
  }

  /** Have the node stop sending; the place is kept for `unpark`. */
  park(topic: string): void {
    const following = this.#followed.get(topic)?.following;
    if (!following || following.phase === "parked") return;
    following.phase = "parked";
    following.overlaps = false;
    this.#retrying.delete(following);
    this.requests.send({ op: "unsubscribe", topic });
  }

  unpark(topic: string): void {
    const following = this.#followed.get(topic)?.following;
    if (following?.phase !== "parked") return;
    following.phase = "idle";
    this.#ask(following);
  }

  #ask(following: Following): void {
    if (!this.requests.connected || following.phase !== "idle") return;
    const id = this.requests.next();
    following.ask(id);
    this.#retrying.delete(following);
    this.#asked.set(id, following.topic);
    this.requests.send({ op: "subscribe", id, topic: following.topic, since: following.resume, ...(following.snapshot ? { snapshot: true } : {}) });
  }

  receiveMessage(frame: frames.Frame, events: Event<P, F>[], from = { leaving: false }): void {
    const followed = this.#followed.get(frames.readTopic(frame));
    if (!followed) return;
    const message = frames.readMessage(frame);
    if (followed.following.receiveMessage(message, from)) {
      events.push({ type: "arrived", handle: followed.handle, item: message, resume: message.position });
    }
  }

  receiveSubscribed(frame: frames.Frame, events: Event<P, F>[]): void {
    const id = idOf(frame);
    const followed = this.#followed.get(this.#asked.get(id) ?? "");
    this.#asked.delete(id);
    if (!followed || followed.following.request !== id || followed.following.phase !== "asked") return;
    const { following, handle } = followed;
    const started = frames.readStarted(frame);
    if (following.hasOutrun(started)) return this.#askAnew(following);
    const gap = following.receiveSubscribed(started, frames.readMissing(frame));
    events.push({ type: "started", handle, started, resume: following.resume });
    if (gap) events.push({ type: "arrived", handle, item: gap, resume: following.resume });
  }

  /** The place is in another stretch of history by now: the answer to the earlier one is of no use. */
  #askAnew(following: Following): void {
    this.requests.send({ op: "unsubscribe", topic: following.topic });
    following.drop();
    this.#ask(following);
  }

  receiveGap(frame: frames.Frame, events: Event<P, F>[], from = { leaving: false }): void {
    const followed = this.#followed.get(frames.readTopic(frame));
    if (!followed) return;
    const { following, handle } = followed;
    const gap = following.receiveGap(frames.readRecovery(frame), frames.readMissing(frame), from);
    if (gap) events.push({ type: "arrived", handle, item: gap, resume: following.resume });
  }

  /** Tell whether the refusal was that of a subscribe of ours. */
  receiveRefusal(id: number, error: HeadraceError, now: number, events: Event<P, F>[]): boolean {
    const topic = this.#asked.get(id);
    if (topic === undefined) return false;
    this.#asked.delete(id);
    const following = this.#followed.get(topic)?.following;
    if (following?.request !== id) return true;
    if (!isTemporary(error)) this.end(topic, error, events);
    else if (following.phase === "asked") {
      following.wait(now + (error.retryMs ?? DEFAULT_RETRY_MS));
      this.#retrying.add(following);
    }
    return true;
  }

  end(topic: string, error: HeadraceError, events: Event<P, F>[]): void {
    const followed = this.#forget(topic);
    if (followed) events.push({ type: "ended", handle: followed.handle, error });
  }

  fail(error: HeadraceError, events: Event<P, F>[]): void {
    for (const topic of [...this.#followed.keys()]) this.end(topic, error, events);
  }

  #forget(topic: string): Followed<F> | undefined {
    const followed = this.#followed.get(topic);
    this.#followed.delete(topic);
    if (followed) this.#retrying.delete(followed.following);
    return followed;
  }

  /** Ask again where the time has come. */
  poll(now: number): void {
    for (const following of this.#retrying) {
      if (following.retryAt !== undefined && following.retryAt <= now) this.#ask(following);
    }
  }

  /** When to ask again, in monotonic milliseconds. */
  dues(): (number | undefined)[] {
    return [...this.#retrying].map((following) => following.retryAt);
  }
}
