/** The client: publishes, follows, and comes back. What it decides is in `protocol` and `failover`. */

import { Connector, type State } from "./connector.js";
import type { Consumer } from "./consumer.js";
import { Consumers } from "./consumers.js";
import { ClientError, HeadraceError } from "./errors.js";
import type { ConsumingEvent, Event } from "./events.js";
import { Failover, type Schedule, SCHEDULE, type Server } from "./failover.js";
import type { SocketClass, Token } from "./link.js";
import type { Published } from "./messages.js";
import { platform } from "./platform.js";
import { checkedSince, type Since } from "./positions.js";
import { Protocol } from "./protocol.js";
import { type Answer, PUBLISH_TIMEOUT_MS, type PublishCall, Publishing, type PublishQueue, QUEUE } from "./publishing.js";
import { type Handlers, Subscription } from "./subscription.js";

const VERSION = "0.1.0";

/** How long `close` waits for the answers to publishes by default. */
const CLOSE_TIMEOUT_MS = 10_000;

/** Deliveries of a subscription that are unsettled at once by default. */
const DEFAULT_WINDOW = 100;

const CONSUMING: ReadonlySet<string> = new Set(["attached", "delivered", "released", "settled"]);

export interface ClientOptions {
  /** A token, or a function (plain or async) that returns a fresh one for each connection. */
  readonly token?: Token | undefined;
  /** For the server's logs. */
  readonly name?: string | undefined;
  /** Where there is no global `WebSocket`; Node's entry of this package brings one. */
  readonly WebSocket?: SocketClass | undefined;
  /** How fast to come back, where the usual pace does not fit. */
  readonly schedule?: Partial<Schedule> | undefined;
  /** Bounds of the publishes that wait for an answer, while there is no connection too. */
  readonly queue?: Partial<PublishQueue> | undefined;
  /** Called whenever the connection comes or goes. */
  readonly onState?: ((state: State) => void) | undefined;
}

export interface SubscribeOptions extends Handlers {
  /** Where to start; `"now"` by default. */
  readonly since?: Since | undefined;
  /** Ask for the topic's snapshot, the newest message published with `retained`: `started` and `onStarted` have it. */
  readonly snapshot?: boolean | undefined;
}

export interface ConsumeOptions {
  /** Deliveries that are unsettled at once, 1 to 1000; 100 by default. */
  readonly window?: number | undefined;
}

/**
 * A client of a Headrace cluster. `servers`: base URLs such as `https://host:8080`, in any order, with a weight where they
 * are `{url, weight}`; the nodes tell the client of others.
 *
 * It connects at once and never gives up on its own; what the server refuses for good (a wrong token) ends it, and then
 * every call fails with that error.
 */
export class Client {
  readonly #protocol: Protocol<Answer, Subscription>;
  readonly #connector: Connector<Answer, Subscription>;
  readonly #publishing: Publishing<Subscription>;
  readonly #consumers: Consumers;
  #waiting: (() => void)[] = [];

  constructor(servers: string | Server | readonly (string | Server)[], options: ClientOptions = {}) {
    const WebSocket = options.WebSocket ?? platform.WebSocket;
    if (!WebSocket) throw new TypeError("There is no WebSocket here: pass the WebSocket option.");
    const schedule = { ...SCHEDULE, ...options.schedule };
    const failover = new Failover(listOf(servers), Math.random, schedule);
    const name = `headrace-js/${VERSION} ${options.name ?? ""}`.trim().slice(0, 128);
    const queue = { ...QUEUE, ...options.queue };
    this.#protocol = new Protocol(randomId(), name, schedule.halfOpenMs, queue);
    this.#connector = new Connector(this.#protocol, failover, {
      WebSocket,
      token: options.token,
      schedule,
      now: () => performance.now(),
      onNetworkUp: platform.onNetworkUp,
      onEvents: (events) => this.#act(events),
      onState: (state) => this.#changed(state, options.onState),
    });
    this.#publishing = new Publishing(this.#protocol, {
      whenFull: queue.whenFull,
      checkOpen: () => this.#checkOpen(),
      wake: () => this.#connector.wake(),
      now: () => performance.now(),
      untilAnswer: (timeoutMs) => this.#untilNext(timeoutMs),
    });
    this.#consumers = new Consumers(this.#protocol.consumings, {
      checkOpen: () => this.#checkOpen(),
      wake: () => this.#connector.wake(),
      now: () => performance.now(),
    });
    this.#connector.start();
  }

  /** Whether there is a connection, to which server, and why not. */
  get state(): State {
    return this.#connector.state;
  }

  /** Resolves when there is a connection; rejects when the client is over, or after `timeoutMs`. */
  async connected(timeoutMs = 30_000): Promise<State> {
    const isOpen = (): boolean => this.state.connected || this.#connector.error !== undefined;
    if (!(await this.#until(isOpen, timeoutMs))) {
      throw new ClientError("connection_failed", `No connection in ${timeoutMs} ms: ${this.state.reason || "no answer"}`);
    }
    this.#checkOpen();
    return this.state;
  }

  /**
   * Publish one message; resolves with its place in the topic's log.
   *
   * Exactly one of `text`, `json` and `data` (bytes) is the payload. It is sent again over reconnects and stored once.
   * Messages to one topic are stored in the order of the calls. Rejects with the server's refusal, with
   * `publish_timeout`, or with `queue_full` while 10,000 publishes wait: then await `room()`. Where `maybeStored` is true of
   * the error, the message may be in the log, and `retry` is safe. `outcomeOf` has a word for each.
   */
  publish(topic: string, call: PublishCall): Promise<Published> {
    return this.#publishing.publish(topic, call);
  }

  /**
   * Try a publish again that rejected with `error`, where its `maybeStored` is true: it is stored once, whatever became of
   * it before. In this client, soon: the server remembers a client's last 1,024 publishes to a topic, for an hour.
   */
  retry(error: HeadraceError, timeoutMs?: number): Promise<Published> {
    return this.#publishing.retry(error, timeoutMs);
  }

  /** Tell the client that the machine has a network again, where the application knows; a browser's page need not. */
  networkUp(): void {
    this.#connector.networkUp();
  }

  /** Resolves when the queue of publishes has room. */
  async room(): Promise<void> {
    await this.#until(() => this.#protocol.room > 0, Infinity);
  }

  /** Resolves with true when every publish and every ack is answered, with false after `timeoutMs`. */
  flush(timeoutMs = PUBLISH_TIMEOUT_MS): Promise<boolean> {
    return this.#until(() => this.#protocol.unanswered + this.#protocol.consumings.unanswered === 0, timeoutMs);
  }

  /** Follow a topic, with handlers or by iterating the result. A topic can be followed once a client. */
  subscribe(topic: string, options: SubscribeOptions = {}): Subscription {
    this.#checkOpen();
    const subscription = new Subscription(this.#owner, topic, options);
    this.#protocol.follow(topic, checkedSince(options.since ?? "now"), subscription, { snapshot: options.snapshot === true });
    this.#connector.wake();
    return subscription;
  }

  /**
   * Consume a shared durable subscription, `project/subscription`: iterate the result, and ack each delivery.
   *
   * At most `window` deliveries (1 to 1000, default 100) are unsettled at once. Others may consume the same subscription,
   * here or over HTTP: each message is in one hand at a time, and comes again, perhaps to another, unless it is acked.
   */
  consume(subscription: string, options: ConsumeOptions = {}): Consumer {
    return this.#consumers.consume(subscription, options.window ?? DEFAULT_WINDOW);
  }

  /** Wait up to `timeoutMs` for the answers to publishes and acks, then close. Whatever waits fails with `client_closed`. */
  async close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    await this.flush(timeoutMs);
    this.#connector.stop(new ClientError("client_closed", "The client is closed."));
  }

  #checkOpen(): void {
    if (this.#connector.error) throw this.#connector.error;
  }

  readonly #owner = {
    subscriptionFull: (subscription: Subscription): void => {
      this.#protocol.park(subscription.topic);
      this.#connector.wake();
    },
    subscriptionDrained: (subscription: Subscription): void => {
      this.#protocol.unpark(subscription.topic);
      this.#connector.wake();
    },
    subscriptionClosed: (subscription: Subscription): void => {
      this.#protocol.unfollow(subscription.topic);
      this.#connector.wake();
    },
  };

  #act(events: readonly Event<Answer, Subscription>[]): void {
    for (const event of events) {
      if (event.type === "arrived") event.handle.push(event.item, event.resume);
      else if (event.type === "answered") settle(event.handle, event.result);
      else if (event.type === "started") event.handle.start(event.started, event.resume);
      else if (event.type === "ended") event.handle.end(closedQuietly(event.error) ? undefined : event.error);
      else if (isOfConsuming(event)) this.#consumers.act(event);
      else if (event.type === "complained") console.warn(`headrace: ${event.error.message} (${event.error.code})`);
    }
    if (events.length > 0) this.#lookAgain();
  }

  #changed(state: State, onState: ((state: State) => void) | undefined): void {
    this.#lookAgain();
    onState?.(state);
  }

  #lookAgain(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const look of waiting) look();
  }

  /** Resolves with true when something happens, with false after `timeoutMs`. */
  #untilNext(timeoutMs: number): Promise<boolean> {
    let isFirst = true;
    const deadline = performance.now() + timeoutMs;
    const isNext = (): boolean => !isFirst || ((isFirst = false), false);
    return this.#until(isNext, timeoutMs).then(() => performance.now() < deadline);
  }

  /** Resolves with true once `condition` holds, looked at after all that happens; with false after `timeoutMs`. */
  #until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      let late = timeoutMs <= 0;
      const timer = Number.isFinite(timeoutMs) ? setTimeout(() => ((late = true), look()), timeoutMs) : undefined;
      const look = (): void => {
        if (!late && !condition()) return void this.#waiting.push(look);
        clearTimeout(timer);
        resolve(condition());
      };
      look();
    });
  }
}

function listOf(servers: string | Server | readonly (string | Server)[]): readonly (string | Server)[] {
  return typeof servers === "string" || "url" in servers ? [servers] : servers;
}

function isOfConsuming(event: { readonly type: string }): event is ConsumingEvent {
  return CONSUMING.has(event.type);
}

function settle(answer: Answer, result: Published | HeadraceError): void {
  if (result instanceof HeadraceError) answer.reject(result);
  else answer.resolve(result);
}

function closedQuietly(error: HeadraceError): boolean {
  return error.code === "client_closed";
}

/** 128 random bits, in hexadecimal. */
function randomId(): string {
  return Array.from(platform.randomBytes(16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
