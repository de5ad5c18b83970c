/**
 * Durable subscriptions that a client consumes: attaching over its connections, deliveries, and settling them. Pure.
 *
 * What is settled within one turn goes in one frame a subscription. It is sent again after a reconnect: an ack holds on
 * every connection until its lease ends (protocol/realtime.md 6).
 */

import { CallerError, ClientError, type HeadraceError, isTemporary } from "./errors.js";
import type { ConsumingEvent } from "./events.js";
import * as frames from "./frames.js";
import { DEFAULT_RETRY_MS } from "./outbox.js";
import { idOf, type Requests } from "./requests.js";

/** Of one frame. */
export const MAX_ACKS = 1000;

/** Settlements of a client that wait for an answer. */
export const MAX_UNANSWERED = 100_000;

export type Verb = "ack" | "nack" | "release" | "extend";

/** `argument`: milliseconds of a nack's delay, seconds of an extended lease. */
export interface Settling {
  readonly verb: Verb;
  readonly subscription: string;
  readonly ack: string;
  readonly argument?: number | undefined;
}

interface Settlement extends Settling {
  readonly ticket: number;
  readonly deadline: number;
  /** How often it was sent; a repetition may meet what it did itself. */
  sent: number;
}

interface Consuming {
  readonly subscription: string;
  readonly window: number;
  phase: "idle" | "asked" | "live";
  /** The id of the attach that counts. */
  request: number;
  retryAt: number | undefined;
  /** Whether deliveries of the connection that is being left count. */
  overlaps: boolean;
}

export class Consumings {
  readonly #consumed = new Map<string, Consuming>();
  readonly #asked = new Map<number, string>();
  readonly #unanswered = new Map<number, Settlement>();
  readonly #onTheWay = new Map<number, Settlement[]>();
  #tickets = 0;
  #ready: Settlement[] = [];
  #held: Settlement[] = [];
  #holdUntil: number | undefined;
  /** Requests on the connection that is being left. */
  #old = new Set<number>();

  constructor(private readonly requests: Requests) {}

  /** Whether the connection that is being left is still listened to. */
  get areMoving(): boolean {
    return [...this.#consumed.values()].some(({ overlaps }) => overlaps) || [...this.#old].some((id) => this.#onTheWay.has(id));
  }

  /** Settlements without an answer, sent or queued. */
  get unanswered(): number {
    return this.#unanswered.size;
  }

  /** Consume over all connections to come. Throws `already_subscribed`. */
  attach(subscription: string, window: number): void {
    if (this.#consumed.has(subscription)) {
      throw new CallerError("already_subscribed", "This client consumes that subscription already.");
    }
    const consuming: Consuming = { subscription, window, phase: "idle", request: -1, retryAt: undefined, overlaps: false };
    this.#consumed.set(subscription, consuming);
    this.#ask(consuming);
  }

  /** What was delivered can still be settled. */
  detach(subscription: string): void {
    if (this.#consumed.delete(subscription)) this.requests.send({ op: "detach", subscription });
  }

  /** Queue a settlement and return its ticket. Throws `queue_full`. */
  settle(settling: Settling, deadline: number): number {
    if (this.unanswered >= MAX_UNANSWERED) throw new ClientError("queue_full", "Too many acks wait for an answer.");
    const ticket = (this.#tickets += 1);
    const settlement = { ...settling, ticket, deadline, sent: 0 };
    this.#unanswered.set(ticket, settlement);
    this.#ready.push(settlement);
    return ticket;
  }

  /** A connection begins: ask again for everything, and send again what has no answer, in order. */
  restart(): void {
    for (const consuming of this.#consumed.values()) this.#ask(consuming);
    this.#ready = [...this.#unanswered.values()];
    this.#held = [];
    this.#holdUntil = undefined;
  }

  /** The connection is gone: nothing that it still says counts. */
  drop(): void {
    this.#asked.clear();
    this.#onTheWay.clear();
    this.#old.clear();
    for (const consuming of this.#consumed.values()) {
      consuming.phase = "idle";
      consuming.retryAt = undefined;
      consuming.overlaps = false;
    }
  }

  /** Another connection takes over: attach there. What is on its way here is answered here. */
  move(): void {
    this.#asked.clear();
    this.#old = new Set(this.#onTheWay.keys());
    for (const consuming of this.#consumed.values()) {
      consuming.overlaps = consuming.phase === "live";
      consuming.phase = "idle";
      consuming.retryAt = undefined;
      this.#ask(consuming);
    }
  }

  /** The connection that was being left is gone: what it did not answer is sent again. */
  leave(): void {
    for (const id of this.#old) this.#ready.push(...(this.#taken(id) ?? []));
    this.#old.clear();
    for (const consuming of this.#consumed.values()) consuming.overlaps = false;
  }

  #ask(consuming: Consuming): void {
    if (!this.requests.connected || consuming.phase !== "idle") return;
    const { subscription, window } = consuming;
    const id = this.requests.next();
    consuming.phase = "asked";
    consuming.request = id;
    consuming.retryAt = undefined;
    this.#asked.set(id, subscription);
    this.requests.send({ op: "attach", id, subscription, window });
  }

  /** Hand over the frames that settle what is ready. Called with a connection. */
  flush(): void {
    const ready = this.#ready.filter(({ ticket }) => this.#unanswered.has(ticket));
    this.#ready = [];
    for (let at = 0; at < ready.length; ) {
      const first = ready[at] as Settlement;
      let end = at + 1;
      while (end < ready.length && end - at < MAX_ACKS && isAlike(first, ready[end] as Settlement)) end += 1;
      this.#send(first, ready.slice(at, end));
      at = end;
    }
  }

  #send({ verb, subscription, argument }: Settlement, settlements: Settlement[]): void {
    const id = this.requests.next();
    this.#onTheWay.set(id, settlements);
    for (const settlement of settlements) settlement.sent += 1;
    const more = verb === "nack" ? { delay_ms: argument } : verb === "extend" ? { deadline_s: argument } : {};
    this.requests.send({ op: verb, id, subscription, acks: settlements.map(({ ack }) => ack), ...more });
  }

  receiveAttached(frame: frames.Frame): ConsumingEvent[] {
    const id = idOf(frame);
    const consuming = this.#consumed.get(this.#asked.get(id) ?? "");
    this.#asked.delete(id);
    if (consuming?.request !== id || consuming.phase !== "asked") return [];
    consuming.phase = "live";
    consuming.overlaps = false;
    return [{ type: "attached", attached: frames.readAttached(frame) }];
  }

  /** `leaving`: it came over the connection that is being left. */
  receiveDelivery(frame: frames.Frame, { leaving } = { leaving: false }): ConsumingEvent[] {
    const subscription = frames.readSubscription(frame);
    const consuming = this.#consumed.get(subscription);
    if (!consuming || !(leaving || consuming.phase === "live")) return []; // the lease ends by itself
    return [{ type: "delivered", subscription, leases: frames.readDeliveries(frame) }];
  }

  receiveSettled(frame: frames.Frame): ConsumingEvent[] {
    const refused = frames.readRefused(frame);
    const settlements = this.#taken(idOf(frame)) ?? [];
    return this.#answer(settlements, (settlement) => verdict(settlement, refused));
  }

  /** Return what an `error` means, undefined where it answered no request of ours. */
  receiveRefusal(id: number, error: HeadraceError, now: number): ConsumingEvent[] | undefined {
    const asked = this.#asked.get(id);
    if (asked !== undefined) return this.#receiveAttachRefusal(asked, id, error, now);
    const settlements = this.#taken(id);
    if (!settlements) return undefined;
    if (!isTemporary(error)) return this.#answer(settlements, () => error);
    this.#held.push(...settlements);
    this.#holdUntil = now + (error.retryMs ?? DEFAULT_RETRY_MS);
    return [];
  }

  #receiveAttachRefusal(subscription: string, id: number, error: HeadraceError, now: number): ConsumingEvent[] {
    this.#asked.delete(id);
    const consuming = this.#consumed.get(subscription);
    if (consuming?.request !== id) return [];
    if (!isTemporary(error)) return this.end(subscription, error);
    consuming.phase = "idle";
    consuming.retryAt = now + (error.retryMs ?? DEFAULT_RETRY_MS);
    return [];
  }

  /** The server delivers nothing more of it. */
  end(subscription: string, error: HeadraceError): ConsumingEvent[] {
    return this.#consumed.delete(subscription) ? [{ type: "released", subscription, error }] : [];
  }

  #taken(id: number): Settlement[] | undefined {
    const settlements = this.#onTheWay.get(id);
    this.#onTheWay.delete(id);
    return settlements;
  }

  #answer(
    settlements: Iterable<Settlement>,
    errorOf: (settlement: Settlement) => HeadraceError | undefined,
  ): ConsumingEvent[] {
    return [...settlements]
      .filter(({ ticket }) => this.#unanswered.delete(ticket))
      .map((settlement) => ({ type: "settled", ticket: settlement.ticket, error: errorOf(settlement) }));
  }

  /** Ask and send again where the time has come, and give up what is too late. */
  poll(now: number): ConsumingEvent[] {
    for (const consuming of this.#consumed.values()) {
      if (consuming.retryAt !== undefined && consuming.retryAt <= now) this.#ask(consuming);
    }
    if (this.#holdUntil !== undefined && this.#holdUntil <= now) {
      this.#ready.unshift(...this.#held);
      this.#held = [];
      this.#holdUntil = undefined;
    }
    const late: Settlement[] = [];
    for (const settlement of this.#unanswered.values()) {
      if (settlement.deadline > now) break; // they were queued in this order, with the same patience
      late.push(settlement);
    }
    const reason = "No answer came in time; it is not known whether the delivery was settled.";
    return this.#answer(late, () => new ClientError("settle_timeout", reason));
  }

  /** When `poll` has something to do, in monotonic milliseconds. */
  dues(): (number | undefined)[] {
    const [oldest] = this.#unanswered.values();
    return [oldest?.deadline, this.#holdUntil, ...[...this.#consumed.values()].map(({ retryAt }) => retryAt)];
  }

  /** The client is over. */
  fail(error: HeadraceError): ConsumingEvent[] {
    const events = this.#answer([...this.#unanswered.values()], () => error);
    return events.concat(...[...this.#consumed.keys()].map((subscription) => this.end(subscription, error)));
  }
}

function isAlike(one: Settling, other: Settling): boolean {
  return one.verb === other.verb && one.subscription === other.subscription && one.argument === other.argument;
}

function verdict({ ack, verb, sent }: Settlement, refused: ReadonlyMap<string, string>): HeadraceError | undefined {
  const code = refused.get(ack);
  // An ack that was sent before may have done it, and its answer was lost.
  if (code === undefined || (code === "unknown" && verb === "ack" && sent > 1)) return undefined;
  return new CallerError("lease_lost", "The lease of this delivery is over.");
}
