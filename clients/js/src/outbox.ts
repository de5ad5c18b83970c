/**
 * Publishes on their way: the queue, the window, and what is sent again. Pure (protocol/realtime.md 5).
 *
 * A publish keeps its identity until it is answered, so that sending it again never stores it twice. Each topic has a
 * lane: order within a topic is kept, and one topic that must wait does not hold up the others. The number rises over
 * all topics of a client: a counter a topic would have to be remembered for every topic ever published to.
 */

import { ClientError, errorFor, type HeadraceError } from "./errors.js";
import { Queue } from "./queue.js";

/** A publisher's sequence numbers of one topic whose outcome the server remembers. */
export const WINDOW = 1024;

/** How long a retried request waits when the server did not say. */
export const DEFAULT_RETRY_MS = 250;

/** How exact a publish's timeout is. */
const EXPIRY_STEP_MS = 250;

/** One publish that is not answered. `handle` is the caller's, opaque here. `deadline` in monotonic milliseconds. */
export interface Pending<H> {
  readonly sequence: number;
  readonly topic: string;
  readonly frame: string;
  readonly bytes: number;
  readonly deadline: number;
  readonly handle: H;
  inFlight: boolean;
  done: boolean;
  /** Whether it was sent before and the answer did not say that nothing was stored. */
  unsure: boolean;
}

export function maybeStored({ inFlight, unsure }: Pending<unknown>): boolean {
  return inFlight || unsure;
}

interface Lane<H> {
  readonly order: Queue<Pending<H>>;
  waiting: Pending<H>[];
  holdUntil: number;
}

export class Outbox<H> {
  readonly pending = new Map<number, Pending<H>>();
  bytes = 0;
  #ready = new Queue<Pending<H>>();
  #lanes = new Map<string, Lane<H>>();
  #inFlight = 0;
  #lookAt = 0;

  add(entry: Pending<H>): void {
    if (this.#ready.length > 2 * this.pending.size + WINDOW) this.#forgetDone();
    this.pending.set(entry.sequence, entry);
    this.bytes += entry.bytes;
    this.#ready.push(entry);
    let lane = this.#lanes.get(entry.topic);
    if (!lane) this.#lanes.set(entry.topic, (lane = { order: new Queue(), waiting: [], holdUntil: 0 }));
    lane.order.push(entry);
  }

  /** Take a publish back under its old number, in its place before later ones. It is not to be pending. */
  addAgain(entry: Pending<H>): void {
    const ready = [...this.#ready];
    this.add(entry);
    this.#ready.replace([entry, ...ready]);
    const { order } = this.#lane(entry);
    order.replace([...order].sort((a, b) => a.sequence - b.sequence));
  }

  /** The number of the first publish that is certainly not stored; undefined when all may be. */
  oldestUnsent(): number | undefined {
    for (const entry of this.pending.values()) if (!maybeStored(entry)) return entry.sequence;
    return undefined;
  }

  /** Return the frames that may be sent now, at most `inFlight` unanswered in all. */
  release(inFlight: number): string[] {
    const frames: string[] = [];
    while (this.#ready.length > 0 && this.#inFlight < inFlight) {
      const entry = this.#ready.shift() as Pending<H>;
      if (entry.done) continue;
      const lane = this.#lane(entry);
      if (this.#mustWait(lane, entry)) {
        lane.waiting.push(entry);
        continue;
      }
      entry.inFlight = true;
      this.#inFlight += 1;
      frames.push(entry.frame);
    }
    return frames;
  }

  #lane(entry: Pending<H>): Lane<H> {
    return this.#lanes.get(entry.topic) as Lane<H>; // there is one for each pending entry
  }

  #mustWait(lane: Lane<H>, entry: Pending<H>): boolean {
    const oldest = oldestOf(lane);
    return lane.waiting.length > 0 || entry.sequence - (oldest ?? entry.sequence) >= WINDOW;
  }

  /** Take the publish out, answered or given up. */
  finish(sequence: number, now: number): Pending<H> | undefined {
    const entry = this.pending.get(sequence);
    if (!entry) return undefined;
    this.pending.delete(sequence);
    entry.done = true;
    this.bytes -= entry.bytes;
    if (entry.inFlight) this.#inFlight -= 1;
    const lane = this.#lane(entry);
    if (oldestOf(lane) === undefined) this.#lanes.delete(entry.topic);
    else if (lane.waiting.length > 0 && lane.holdUntil <= now) this.#unblock(lane);
    return entry;
  }

  /** The server asks to send it again later: the topic's other publishes wait with it, in order. */
  retry(sequence: number, error: HeadraceError, now: number): void {
    const entry = this.pending.get(sequence);
    if (!entry?.inFlight) return;
    entry.inFlight = false;
    entry.unsure ||= error.maybeStored;
    this.#inFlight -= 1;
    const lane = this.#lane(entry);
    lane.holdUntil = Math.max(lane.holdUntil, now + (error.retryMs ?? DEFAULT_RETRY_MS));
    lane.waiting = [...lane.waiting, entry].sort((a, b) => a.sequence - b.sequence);
  }

  /** Let go of the lanes whose time has come. */
  wake(now: number): void {
    for (const lane of this.#lanes.values()) {
      if (lane.waiting.length > 0 && lane.holdUntil > 0 && lane.holdUntil <= now) {
        lane.holdUntil = 0;
        this.#unblock(lane);
      }
    }
  }

  #unblock(lane: Lane<H>): void {
    this.#ready.unshift(lane.waiting);
    lane.waiting = [];
  }

  /** A new connection begins: everything unanswered is sent again, in order, before anything new. */
  restart(): void {
    const entries = [...this.pending.values()].sort((a, b) => a.sequence - b.sequence);
    for (const entry of entries) {
      entry.unsure = maybeStored(entry);
      entry.inFlight = false;
    }
    for (const lane of this.#lanes.values()) {
      lane.waiting = [];
      lane.holdUntil = 0;
    }
    this.#inFlight = 0;
    this.#ready.replace(entries);
  }

  /** Take out the publishes whose time is over. Cheap to call often. */
  expire(now: number): [Pending<H>, HeadraceError][] {
    if (now < this.#lookAt) return [];
    this.#lookAt = now + EXPIRY_STEP_MS;
    const late = [...this.pending.values()].filter((entry) => entry.deadline <= now);
    const reason = (entry: Pending<H>): string =>
      maybeStored(entry) ? "No answer came in time; it is not known whether the message was stored." : "It was not sent in time.";
    return late.map((entry) => this.#given(entry, new ClientError("publish_timeout", reason(entry)), now));
  }

  /** Take out everything: the client is over. */
  fail(error: HeadraceError): [Pending<H>, HeadraceError][] {
    return [...this.pending.values()].map((entry) => this.#given(entry, error, 0));
  }

  #given(entry: Pending<H>, error: HeadraceError, now: number): [Pending<H>, HeadraceError] {
    this.finish(entry.sequence, now);
    return [entry, errorFor(error, maybeStored(entry), entry)];
  }

  /** Without a connection nothing is popped: entries that were given up must not pile up. */
  #forgetDone(): void {
    this.#ready.replace([...this.#ready].filter((entry) => !entry.done));
    for (const lane of this.#lanes.values()) {
      lane.order.replace([...lane.order].filter((entry) => !entry.done));
      lane.waiting = lane.waiting.filter((entry) => !entry.done);
    }
  }

  /** When `wake` or `expire` has something to do, in monotonic milliseconds. */
  nextDue(now: number): number | undefined {
    if (this.pending.size === 0) return undefined;
    const held = [...this.#lanes.values()].filter((lane) => lane.waiting.length > 0 && lane.holdUntil > now);
    return Math.min(Math.max(this.#lookAt, now), ...held.map((lane) => lane.holdUntil));
  }
}

function oldestOf<H>(lane: Lane<H>): number | undefined {
  while (lane.order.peek()?.done) lane.order.shift();
  return lane.order.peek()?.sequence;
}
