/**
 * One client's side of the realtime protocol, without a socket: frames in, events and frames out. Pure.
 *
 * It outlives connections: what was asked for and what is unanswered carries over. Times are monotonic milliseconds. The
 * shell hands received frames to `receive`, acts on the events, writes what `outgoing` returns, and calls `poll` when
 * `nextDue` says so.
 */

import { Consumings } from "./consuming.js";
import { CallerError, ClientError, errorFor, HeadraceError, isTemporary } from "./errors.js";
import type { Event } from "./events.js";
import { Followings } from "./followings.js";
import * as frames from "./frames.js";
import { Greeting } from "./greeting.js";
import { type Durability, type Payload, payloadFields } from "./messages.js";
import { Outbox, type Pending } from "./outbox.js";
import type { Since } from "./positions.js";
import { idOf, NO_ID, Requests } from "./requests.js";

/** Unanswered publishes of a client, sent or queued. */
export const MAX_PENDING = 10_000;

/** Their frames' bytes; one larger publish goes alone. */
export const MAX_PENDING_BYTES = 8 * 1024 * 1024;

/** What may wait for an answer, sent or not. */
export interface QueueBounds {
  readonly messages: number;
  readonly bytes: number;
}

export interface PublishOptions {
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  /** An idempotency key of your own; see the README. */
  readonly key?: string | undefined;
  readonly durability?: Durability | undefined;
  /** Make it its topic's snapshot. */
  readonly retained?: boolean | undefined;
}

export class Protocol<P, F> {
  welcome = frames.DEFAULT_WELCOME;
  readonly #requests = new Requests();
  readonly #outbox = new Outbox<P>();
  readonly #followings = new Followings<P, F>(this.#requests);
  readonly consumings = new Consumings(this.#requests);
  readonly #greeting: Greeting;
  #welcomed = false;
  #heardAt = 0;
  #pingedAt: number | undefined;
  readonly #pongMs: number;

  /**
   * A connection that brings nothing for `halfOpenMs` is dead. After half of it the node is pinged: anything counts as
   * an answer.
   */
  constructor(
    private readonly publisher: string,
    client: string,
    halfOpenMs = 10_000,
    private readonly bounds: QueueBounds = { messages: MAX_PENDING, bytes: MAX_PENDING_BYTES },
  ) {
    this.#greeting = new Greeting(this.#requests, client);
    this.#pongMs = halfOpenMs / 2;
  }

  /** Publishes without an answer, sent or queued. */
  get unanswered(): number {
    return this.#outbox.pending.size;
  }

  /** How many more publishes may be queued. */
  get room(): number {
    const { messages, bytes } = this.bounds;
    return this.#outbox.bytes < bytes ? Math.max(messages - this.unanswered, 0) : 0;
  }

  /** What is followed, and from where it would go on. */
  get places(): Map<string, Since> {
    return this.#followings.places;
  }

  /** A socket is open: say who we are, ask again for everything followed, send the unanswered again. */
  connect(now: number, token?: string): void {
    this.#begin(now, token);
    this.#followings.restart();
    this.consumings.restart();
  }

  /** A socket to another node is open: as `connect`, while what the old one still brings counts (`receiveOld`). */
  move(now: number, token?: string): void {
    this.#begin(now, token);
    this.#followings.move();
    this.consumings.move();
  }

  /** Whether the old connection is still of use. */
  get isMoving(): boolean {
    return this.#greeting.isOpen || this.#followings.areMoving || this.consumings.areMoving;
  }

  /** The old connection is gone, or no longer waited for. */
  leave(): void {
    this.#followings.leave();
    this.consumings.leave();
  }

  #begin(now: number, token: string | undefined): void {
    this.#welcomed = false;
    this.#heardAt = now;
    this.#pingedAt = undefined;
    this.#requests.open();
    this.#greeting.begin(now, token);
    this.#outbox.restart();
  }

  /** The socket is gone: nothing that it still says counts. */
  disconnect(): void {
    this.#pingedAt = undefined;
    this.#requests.close();
    this.#greeting.end();
    this.#followings.drop();
    this.consumings.drop();
  }

  /** Queue a publish and return its number. Throws `queue_full`, `too_large`, `invalid_message`. */
  publish(topic: string, payload: Payload, options: PublishOptions, handle: P, deadline: number): number {
    if (this.unanswered >= this.bounds.messages) throw queueFull();
    const sequence = this.#requests.following;
    const { key, attributes, durability } = options;
    const retained = options.retained === true ? true : undefined;
    const identity = key === undefined ? { publisher: this.publisher, seq: sequence } : { key };
    const fields = { ...payloadFields(payload), attributes, ...identity, durability, retained };
    const frame = JSON.stringify({ op: "publish", id: sequence, topic, ...fields }); // leaves undefined fields out
    const bytes = byteLength(frame);
    this.#checkSize(bytes);
    this.#requests.next();
    this.#outbox.add({ sequence, topic, frame, bytes, deadline, handle, inFlight: false, done: false, unsure: false });
    return sequence;
  }

  /** Queue a publish that was given up under its old number, so that it is stored once. Throws `queue_full`. */
  publishAgain(unsettled: Pending<P>, handle: P, deadline: number): void {
    if (this.unanswered >= this.bounds.messages || this.#outbox.pending.has(unsettled.sequence)) throw queueFull();
    this.#checkSize(unsettled.bytes);
    this.#outbox.addAgain({ ...unsettled, handle, deadline, inFlight: false, done: false, unsure: true });
  }

  /** Give up the oldest publish that was never sent; undefined where all were. */
  dropOldest(now: number): P | undefined {
    const sequence = this.#outbox.oldestUnsent();
    return sequence === undefined ? undefined : this.#outbox.finish(sequence, now)?.handle;
  }

  #checkSize(bytes: number): void {
    const { frameBytes } = this.welcome;
    if (bytes > frameBytes) {
      throw new CallerError("too_large", `The publish takes ${bytes} bytes, the node allows ${frameBytes} a frame.`);
    }
    if (this.unanswered > 0 && this.#outbox.bytes + bytes > this.bounds.bytes) throw queueFull();
  }

  /** Follow a topic over all connections to come. Throws `already_subscribed`. */
  follow(topic: string, since: Since, handle: F, options = { snapshot: false }): void {
    this.#followings.follow(topic, since, handle, options);
  }

  unfollow(topic: string): void {
    this.#followings.unfollow(topic);
  }

  /** The application is far behind: have the node stop sending; the place is kept for `unpark`. */
  park(topic: string): void {
    this.#followings.park(topic);
  }

  unpark(topic: string): void {
    this.#followings.unpark(topic);
  }

  /** Return the frames to write now: while a token is being checked, the `hello` alone. */
  outgoing(now: number): string[] {
    if (!this.#requests.connected) return [];
    if (this.#greeting.isOpen) return this.#greeting.take(now);
    this.consumings.flush();
    return this.#requests.take().concat(this.#outbox.release(this.welcome.inFlight));
  }

  /** Take what came. A `broken` event is the last one. */
  receive(texts: Iterable<string>, now: number): Event<P, F>[] {
    this.#heardAt = now;
    this.#pingedAt = undefined;
    const events: Event<P, F>[] = [];
    try {
      for (const text of texts) this.#receive(frames.readFrame(text), now, events);
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      events.push({ type: "broken", reason: error.message });
    }
    return events;
  }

  /** Take what the connection that is being left still brings. What makes no sense ends the listening. */
  receiveOld(text: string, now: number): Event<P, F>[] {
    const events: Event<P, F>[] = [];
    try {
      this.#receiveOld(frames.readFrame(text), now, events);
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      this.leave();
    }
    return events;
  }

  #receiveOld(frame: frames.Frame, now: number, events: Event<P, F>[]): void {
    const from = { leaving: true };
    if (frame["op"] === "message") this.#followings.receiveMessage(frame, events, from);
    else if (frame["op"] === "gap") this.#followings.receiveGap(frame, events, from);
    else if (frame["op"] === "published") this.#receivePublished(frame, now, events);
    else if (frame["op"] === "delivery") events.push(...this.consumings.receiveDelivery(frame, from));
    else if (frame["op"] === "settled") events.push(...this.consumings.receiveSettled(frame));
    // the new connection says the rest
  }

  #receive(frame: frames.Frame, now: number, events: Event<P, F>[]): void {
    switch (frame["op"]) {
      case "message":
        return this.#followings.receiveMessage(frame, events);
      case "published":
        return this.#receivePublished(frame, now, events);
      case "subscribed":
        return this.#followings.receiveSubscribed(frame, events);
      case "gap":
        return this.#followings.receiveGap(frame, events);
      case "attached":
        events.push(...this.consumings.receiveAttached(frame));
        return;
      case "delivery":
        events.push(...this.consumings.receiveDelivery(frame));
        return;
      case "settled":
        events.push(...this.consumings.receiveSettled(frame));
        return;
      case "error":
        return this.#receiveError(frame, now, events);
      case "ok":
        return this.#receiveOk(frame, events);
      case "welcome":
        this.#welcomed = true;
        this.welcome = frames.readWelcome(frame);
        events.push({ type: "welcomed", welcome: this.welcome });
        return;
      case "servers":
      case "drain":
        return this.#receiveAdvice(frame, events);
      default: // pong, and what later servers may say
        return;
    }
  }

  #receiveAdvice(frame: frames.Frame, events: Event<P, F>[]): void {
    const [servers, spreadMs] = [frames.readServers(frame), frames.readSpread(frame)];
    events.push({ type: "listed", servers });
    if (frame["op"] === "drain") events.push({ type: "draining", spreadMs: spreadMs ?? 0 });
    else this.welcome = { ...this.welcome, servers, spreadMs };
  }

  #receivePublished(frame: frames.Frame, now: number, events: Event<P, F>[]): void {
    const entry = this.#outbox.finish(idOf(frame), now);
    if (entry) events.push({ type: "answered", handle: entry.handle, result: frames.readPublished(frame) });
  }

  #receiveOk(frame: frames.Frame, events: Event<P, F>[]): void {
    if (this.#greeting.receiveOk(idOf(frame))) events.push({ type: "accepted" });
  }

  #receiveError(frame: frames.Frame, now: number, events: Event<P, F>[]): void {
    const error = frames.readError(frame);
    const id = idOf(frame);
    const consumed = this.consumings.receiveRefusal(id, error, now);
    if ("topic" in frame) this.#followings.end(frames.readTopic(frame), error, events);
    else if ("subscription" in frame) events.push(...this.consumings.end(frames.readSubscription(frame), error));
    else if (this.#followings.receiveRefusal(id, error, now, events)) return;
    else if (consumed) events.push(...consumed);
    else if (this.#outbox.pending.has(id)) this.#receivePublishError(id, error, now, events);
    else if (this.#greeting.receiveRefusal(id, error, now) || id === NO_ID) events.push({ type: "complained", error });
  }

  #receivePublishError(id: number, error: HeadraceError, now: number, events: Event<P, F>[]): void {
    if (isTemporary(error)) return this.#outbox.retry(id, error, now);
    const entry = this.#outbox.finish(id, now);
    if (entry) events.push({ type: "answered", handle: entry.handle, result: errorFor(error, entry.unsure, undefined) });
  }

  /** Do what time asks for: retries, timeouts of publishes, pings, and giving up a dead connection. */
  poll(now: number): Event<P, F>[] {
    this.#outbox.wake(now);
    const expired = this.#outbox.expire(now);
    const events: Event<P, F>[] = expired.map(([entry, result]) => ({ type: "answered", handle: entry.handle, result }));
    this.#followings.poll(now);
    events.push(...this.consumings.poll(now));
    const reason = this.#requests.connected ? this.#watch(now) : undefined;
    if (reason !== undefined) events.push({ type: "broken", reason });
    return events;
  }

  #watch(now: number): string | undefined {
    if (this.#pingedAt !== undefined) return now - this.#pingedAt >= this.#pongMs ? "no answer to a ping" : undefined;
    if (!this.#welcomed) return now - this.#heardAt >= this.#pongMs ? "no welcome" : undefined;
    if (now - this.#heardAt >= this.#patience()) this.probe(now);
    return undefined;
  }

  /** Ask the node for a sign of life, now. */
  probe(now: number): void {
    if (this.#pingedAt !== undefined) return;
    this.#pingedAt = now;
    this.#requests.send({ op: "ping" });
  }

  #patience(): number {
    return Math.min(this.welcome.pingMs, this.#pongMs);
  }

  /** When `poll` has something to do, in monotonic milliseconds. */
  nextDue(now: number): number | undefined {
    const dues = [...this.#followings.dues(), ...this.consumings.dues(), this.#greeting.dueAt, this.#outbox.nextDue(now)];
    if (this.#requests.connected) dues.push(this.#watchDue());
    const known = dues.filter((due): due is number => due !== undefined);
    return known.length > 0 ? Math.min(...known) : undefined;
  }

  #watchDue(): number {
    if (this.#pingedAt !== undefined) return this.#pingedAt + this.#pongMs;
    return this.#heardAt + (this.#welcomed ? this.#patience() : this.#pongMs);
  }

  /** The client is over: everything that is asked for or unanswered ends with `error`. */
  fail(error: HeadraceError): Event<P, F>[] {
    const given = this.#outbox.fail(error);
    const events: Event<P, F>[] = given.map(([entry, result]) => ({ type: "answered", handle: entry.handle, result }));
    this.#followings.fail(error, events);
    return events.concat(this.consumings.fail(error));
  }
}

function queueFull(): ClientError {
  return new ClientError("queue_full", "Too many publishes wait for an answer: await room() first.");
}

const encoder = new TextEncoder();

/** UTF-8 bytes: what the limits count. */
function byteLength(text: string): number {
  return encoder.encode(text).length;
}
