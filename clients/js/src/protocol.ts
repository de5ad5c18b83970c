/**
 * One client's side of the realtime protocol, without a socket: frames in, events and frames out. Pure.
 *
 * It outlives connections: what was asked for and what is unanswered carries over. Times are monotonic milliseconds. The
 * shell hands received frames to `receive`, acts on the events, writes what `outgoing` returns, and calls `poll` when
 * `nextDue` says so.
 */

import { CallerError, ClientError, HeadraceError, isTemporary } from "./errors.js";
import { Following } from "./following.js";
import * as frames from "./frames.js";
import { type Durability, type Gap, Message, type Payload, payloadFields, type Published, type Started } from "./messages.js";
import { DEFAULT_RETRY_MS, Outbox } from "./outbox.js";
import type { Since } from "./positions.js";

/** Unanswered publishes of a client, sent or queued. */
export const MAX_PENDING = 10_000;

/** Their frames' bytes; one larger publish goes alone. */
export const MAX_PENDING_BYTES = 16 * 1024 * 1024;

/** How long a node may be silent after a ping, or before its welcome, until the connection counts as dead. */
export const PONG_MS = 10_000;

/** Silence after which a node that owes an answer is pinged, sooner than an idle one. */
export const IMPATIENT_PING_MS = 5_000;

export interface PublishOptions {
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  /** An idempotency key of your own; see the README. */
  readonly key?: string | undefined;
  readonly durability?: Durability | undefined;
}

/** `P` and `F` are the shell's handles of a publish and of a subscription. */
export type Event<P, F> =
  | { readonly type: "welcomed"; readonly welcome: frames.Welcome }
  | { readonly type: "accepted" } // the token, by the server's `ok`
  | { readonly type: "answered"; readonly handle: P; readonly result: Published | HeadraceError }
  | { readonly type: "arrived"; readonly handle: F; readonly item: Message | Gap; readonly resume: Since }
  | { readonly type: "started"; readonly handle: F; readonly started: Started }
  | { readonly type: "ended"; readonly handle: F; readonly error: HeadraceError }
  | { readonly type: "complained"; readonly error: HeadraceError }
  | { readonly type: "broken"; readonly reason: string };

export class Protocol<P, F> {
  welcome = frames.DEFAULT_WELCOME;
  #requests = 0;
  readonly #outbox = new Outbox<P>();
  readonly #followed = new Map<string, { following: Following; handle: F }>();
  #asked = new Map<number, string>();
  readonly #retrying = new Set<Following>();
  #out: string[] = [];
  #connected = false;
  #welcomed = false;
  /** The id of a `hello` with a token: until it is answered nothing else is sent. */
  #hello: number | undefined;
  #heardAt = 0;
  #pingedAt: number | undefined;

  constructor(
    private readonly publisher: string,
    private readonly client: string,
  ) {}

  /** Publishes without an answer, sent or queued. */
  get unanswered(): number {
    return this.#outbox.pending.size;
  }

  /** How many more publishes may be queued. */
  get room(): number {
    return this.#outbox.bytes < MAX_PENDING_BYTES ? Math.max(MAX_PENDING - this.unanswered, 0) : 0;
  }

  /** What is followed, and from where it would go on. */
  get places(): Map<string, Since> {
    return new Map([...this.#followed].map(([topic, { following }]) => [topic, following.resume]));
  }

  /** A socket is open: say who we are, ask again for everything followed, send the unanswered again. */
  connect(now: number, token?: string): void {
    this.#connected = true;
    this.#welcomed = false;
    this.#heardAt = now;
    this.#pingedAt = undefined;
    this.#requests += 1;
    const hello = { op: "hello", id: this.#requests, client: this.client };
    this.#out = [JSON.stringify(token === undefined ? hello : { ...hello, token })];
    this.#hello = token === undefined ? undefined : this.#requests;
    this.#outbox.restart();
    for (const { following } of this.#followed.values()) this.#ask(following);
  }

  /** The socket is gone: nothing that it still says counts. */
  disconnect(): void {
    this.#connected = false;
    this.#pingedAt = undefined;
    this.#out = [];
    this.#asked.clear();
    for (const { following } of this.#followed.values()) following.drop();
  }

  /** Queue a publish and return its number. Throws `queue_full`, `too_large`, `invalid_message`. */
  publish(topic: string, payload: Payload, options: PublishOptions, handle: P, deadline: number): number {
    if (this.unanswered >= MAX_PENDING) throw queueFull();
    const sequence = this.#requests + 1;
    const { key, attributes, durability } = options;
    const identity = key === undefined ? { publisher: this.publisher, seq: sequence } : { key };
    const fields = { ...payloadFields(payload), attributes, ...identity, durability };
    const frame = JSON.stringify({ op: "publish", id: sequence, topic, ...fields }); // leaves undefined fields out
    const bytes = byteLength(frame);
    this.#checkSize(bytes);
    this.#requests = sequence;
    this.#outbox.add({ sequence, topic, frame, bytes, deadline, handle, inFlight: false, done: false });
    return sequence;
  }

  #checkSize(bytes: number): void {
    const { frameBytes } = this.welcome;
    if (bytes > frameBytes) {
      throw new CallerError("too_large", `The publish takes ${bytes} bytes, the node allows ${frameBytes} a frame.`);
    }
    if (this.unanswered > 0 && this.#outbox.bytes + bytes > MAX_PENDING_BYTES) throw queueFull();
  }

  /** Follow a topic over all connections to come. Throws `already_subscribed`. */
  follow(topic: string, since: Since, handle: F): void {
    if (this.#followed.has(topic)) {
      throw new CallerError("already_subscribed", "This client follows that topic already.");
    }
    const following = new Following(topic, since);
    this.#followed.set(topic, { following, handle });
    this.#ask(following);
  }

  unfollow(topic: string): void {
    if (!this.#followed.has(topic)) return;
    this.#forget(topic);
    this.#request({ op: "unsubscribe", topic });
  }

  /** The application is far behind: have the node stop sending; the place is kept for `unpark`. */
  park(topic: string): void {
    const following = this.#followed.get(topic)?.following;
    if (!following || following.phase === "parked") return;
    following.phase = "parked";
    this.#retrying.delete(following);
    this.#request({ op: "unsubscribe", topic });
  }

  unpark(topic: string): void {
    const following = this.#followed.get(topic)?.following;
    if (following?.phase !== "parked") return;
    following.phase = "idle";
    this.#ask(following);
  }

  #ask(following: Following): void {
    if (!this.#connected || following.phase !== "idle") return;
    this.#requests += 1;
    following.ask(this.#requests);
    this.#retrying.delete(following);
    this.#asked.set(this.#requests, following.topic);
    this.#request({ op: "subscribe", id: this.#requests, topic: following.topic, since: following.resume });
  }

  #request(frame: frames.Frame): void {
    if (this.#connected) this.#out.push(JSON.stringify(frame));
  }

  /** Return the frames to write now: while a token is being checked, the `hello` alone. */
  outgoing(): string[] {
    if (!this.#connected) return [];
    if (this.#hello !== undefined) return this.#helloAlone();
    const out = this.#out;
    this.#out = [];
    return out.concat(this.#outbox.release(this.welcome.inFlight));
  }

  #helloAlone(): string[] {
    const first = this.#out[0];
    if (first === undefined || !first.startsWith('{"op":"hello"')) return [];
    this.#out.shift();
    return [first];
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

  #receive(frame: frames.Frame, now: number, events: Event<P, F>[]): void {
    switch (frame["op"]) {
      case "message":
        return this.#receiveMessage(frame, events);
      case "published":
        return this.#receivePublished(frame, now, events);
      case "subscribed":
        return this.#receiveSubscribed(frame, events);
      case "gap":
        return this.#receiveGap(frame, events);
      case "error":
        return this.#receiveError(frame, now, events);
      case "ok":
        return this.#receiveOk(frame, events);
      case "welcome":
        this.#welcomed = true;
        this.welcome = frames.readWelcome(frame);
        events.push({ type: "welcomed", welcome: this.welcome });
        return;
      default: // pong, and what later servers may say
        return;
    }
  }

  #receiveMessage(frame: frames.Frame, events: Event<P, F>[]): void {
    const followed = this.#followed.get(frames.readTopic(frame));
    if (!followed) return;
    const message = frames.readMessage(frame);
    if (followed.following.receiveMessage(message)) {
      events.push({ type: "arrived", handle: followed.handle, item: message, resume: message.position });
    }
  }

  #receivePublished(frame: frames.Frame, now: number, events: Event<P, F>[]): void {
    const entry = this.#outbox.finish(idOf(frame), now);
    if (entry) events.push({ type: "answered", handle: entry.handle, result: frames.readPublished(frame) });
  }

  #receiveSubscribed(frame: frames.Frame, events: Event<P, F>[]): void {
    const id = idOf(frame);
    const followed = this.#followed.get(this.#asked.get(id) ?? "");
    this.#asked.delete(id);
    if (!followed || followed.following.request !== id || followed.following.phase !== "asked") return;
    const { following, handle } = followed;
    const started = frames.readStarted(frame);
    const gap = following.receiveSubscribed(started, frames.readMissing(frame));
    events.push({ type: "started", handle, started });
    if (gap) events.push({ type: "arrived", handle, item: gap, resume: following.resume });
  }

  #receiveGap(frame: frames.Frame, events: Event<P, F>[]): void {
    const followed = this.#followed.get(frames.readTopic(frame));
    if (!followed) return;
    const { following, handle } = followed;
    const gap = following.receiveGap(frames.readRecovery(frame), frames.readMissing(frame));
    if (gap) events.push({ type: "arrived", handle, item: gap, resume: following.resume });
  }

  #receiveOk(frame: frames.Frame, events: Event<P, F>[]): void {
    if (this.#hello === undefined || idOf(frame) !== this.#hello) return;
    this.#hello = undefined;
    events.push({ type: "accepted" });
  }

  #receiveError(frame: frames.Frame, now: number, events: Event<P, F>[]): void {
    const error = frames.readError(frame);
    const id = idOf(frame);
    const asked = this.#asked.get(id);
    if ("topic" in frame) this.#end(frames.readTopic(frame), error, events);
    else if (asked !== undefined) this.#receiveRefusal(asked, id, error, now, events);
    else if (this.#outbox.pending.has(id)) this.#receivePublishError(id, error, now, events);
    else if (id === NO_ID || id === this.#hello) events.push({ type: "complained", error });
  }

  #receiveRefusal(topic: string, id: number, error: HeadraceError, now: number, events: Event<P, F>[]): void {
    this.#asked.delete(id);
    const following = this.#followed.get(topic)?.following;
    if (!following || following.request !== id) return;
    if (!isTemporary(error)) return this.#end(topic, error, events);
    if (following.phase !== "asked") return;
    following.wait(now + (error.retryMs ?? DEFAULT_RETRY_MS));
    this.#retrying.add(following);
  }

  #receivePublishError(id: number, error: HeadraceError, now: number, events: Event<P, F>[]): void {
    if (isTemporary(error)) return this.#outbox.retry(id, error, now);
    const entry = this.#outbox.finish(id, now);
    if (entry) events.push({ type: "answered", handle: entry.handle, result: error });
  }

  #end(topic: string, error: HeadraceError, events: Event<P, F>[]): void {
    const followed = this.#forget(topic);
    if (followed) events.push({ type: "ended", handle: followed.handle, error });
  }

  #forget(topic: string): { following: Following; handle: F } | undefined {
    const followed = this.#followed.get(topic);
    this.#followed.delete(topic);
    if (followed) this.#retrying.delete(followed.following);
    return followed;
  }

  /** Do what time asks for: retries, timeouts of publishes, pings, and giving up a dead connection. */
  poll(now: number): Event<P, F>[] {
    this.#outbox.wake(now);
    const expired = this.#outbox.expire(now);
    const events: Event<P, F>[] = expired.map(([entry, result]) => ({ type: "answered", handle: entry.handle, result }));
    for (const following of this.#retrying) {
      if (following.retryAt !== undefined && following.retryAt <= now) this.#ask(following);
    }
    const reason = this.#connected ? this.#watch(now) : undefined;
    if (reason !== undefined) events.push({ type: "broken", reason });
    return events;
  }

  #watch(now: number): string | undefined {
    if (this.#pingedAt !== undefined) return now - this.#pingedAt >= PONG_MS ? "no answer to a ping" : undefined;
    if (!this.#welcomed) return now - this.#heardAt >= PONG_MS ? "no welcome" : undefined;
    if (now - this.#heardAt >= this.#patience()) {
      this.#pingedAt = now;
      this.#request({ op: "ping" });
    }
    return undefined;
  }

  #patience(): number {
    const { pingMs } = this.welcome;
    return this.unanswered > 0 || this.#asked.size > 0 ? Math.min(pingMs, IMPATIENT_PING_MS) : pingMs;
  }

  /** When `poll` has something to do, in monotonic milliseconds. */
  nextDue(now: number): number | undefined {
    const dues = [...this.#retrying].map((following) => following.retryAt);
    dues.push(this.#outbox.nextDue(now), this.#connected ? this.#watchDue() : undefined);
    const known = dues.filter((due): due is number => due !== undefined);
    return known.length > 0 ? Math.min(...known) : undefined;
  }

  #watchDue(): number {
    if (this.#pingedAt !== undefined) return this.#pingedAt + PONG_MS;
    return this.#heardAt + (this.#welcomed ? this.#patience() : PONG_MS);
  }

  /** The client is over: everything that is asked for or unanswered ends with `error`. */
  fail(error: HeadraceError): Event<P, F>[] {
    const events: Event<P, F>[] = [];
    for (const sequence of [...this.#outbox.pending.keys()]) {
      const entry = this.#outbox.finish(sequence, 0);
      if (entry) events.push({ type: "answered", handle: entry.handle, result: error });
    }
    for (const topic of [...this.#followed.keys()]) this.#end(topic, error, events);
    return events;
  }
}

const NO_ID = -1;

function idOf(frame: frames.Frame): number {
  const id = frame["id"];
  return typeof id === "number" ? id : NO_ID;
}

function queueFull(): ClientError {
  return new ClientError("queue_full", "Too many publishes wait for an answer: await room() first.");
}

const encoder = new TextEncoder();

/** UTF-8 bytes: what the limits count. */
function byteLength(text: string): number {
  return encoder.encode(text).length;
}
