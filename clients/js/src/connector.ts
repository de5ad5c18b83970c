/** The loop that keeps one connection: dial, feed the state machine, write what it wants written, come back. */

import { ClientError, CallerError, type HeadraceError } from "./errors.js";
import { type Attempt, type Failover, realtimeUrl, verdictOfClose } from "./failover.js";
import type { Event } from "./events.js";
import type { Protocol } from "./protocol.js";

/** For the connection, TLS and the handshake together. */
const OPEN_TIMEOUT_MS = 5_000;

/** For the application's token function. */
const TOKEN_TIMEOUT_MS = 10_000;

const SUBPROTOCOL = "headrace.v1+json";
const BROKEN = 1006;

/** The part of the WebSocket interface that is used. */
export interface Socket {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: string): void;
  close(code?: number): void;
}

export type SocketClass = new (url: string, protocols: string[]) => Socket;

/** The token, or a function that returns a fresh one for each connection. */
export type Token = string | (() => string | Promise<string>);

/** The connection as it stands. `reason` says why there is none. */
export interface State {
  readonly connected: boolean;
  readonly server: string;
  readonly node: string;
  readonly reason: string;
}

export interface Wiring<P, F> {
  readonly WebSocket: SocketClass;
  readonly token: Token | undefined;
  readonly now: () => number;
  readonly onEvents: (events: readonly Event<P, F>[]) => void;
  readonly onState: (state: State) => void;
}

export class Connector<P, F> {
  state: State = { connected: false, server: "", node: "", reason: "" };
  /** Why the client is over. */
  error: HeadraceError | undefined;
  #socket: Socket | undefined;
  #welcomedAt: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerDue = Infinity;
  #dialTimer: ReturnType<typeof setTimeout> | undefined;
  #flushing = false;
  #tokenRefused = false;

  constructor(
    private readonly protocol: Protocol<P, F>,
    private readonly failover: Failover,
    private readonly wiring: Wiring<P, F>,
  ) {}

  start(): void {
    this.#dialLater();
  }

  /** The client is over: close the connection, and end all that waits with `error`. */
  stop(error: HeadraceError): void {
    if (this.error) return;
    this.error = error;
    clearTimeout(this.#dialTimer);
    clearTimeout(this.#timer);
    const socket = this.#leave();
    if (socket) closeQuietly(socket);
    this.wiring.onEvents(this.protocol.fail(error));
    this.#change({ ...this.state, connected: false, reason: error.message });
  }

  /** The state machine has something to send: write it at the end of this turn. */
  wake(): void {
    if (this.#flushing || this.error) return;
    this.#flushing = true;
    queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    if (this.error) return;
    if (this.#socket) for (const frame of this.protocol.outgoing(this.wiring.now())) this.#socket.send(frame);
    this.#arm();
  }

  /** Set the timer, unless one is set that rings before: it will look again. */
  #arm(): void {
    const due = this.protocol.nextDue(this.wiring.now());
    if (due === undefined || (this.#timer !== undefined && this.#timerDue <= due)) return;
    clearTimeout(this.#timer);
    this.#timerDue = due;
    this.#timer = setTimeout(() => this.#tick(), Math.max(due - this.wiring.now(), 0));
  }

  #tick(): void {
    this.#timer = undefined;
    this.#take(this.protocol.poll(this.wiring.now()));
    this.#flush();
  }

  #dialLater(): void {
    if (this.error) return;
    const attempt = this.failover.next(this.wiring.now());
    this.#dialTimer = setTimeout(() => void this.#dial(attempt), Math.max(attempt.at - this.wiring.now(), 0));
  }

  async #dial({ server }: Attempt): Promise<void> {
    this.state = { ...this.state, connected: false, server, node: "" };
    let token: string | undefined;
    try {
      token = await this.#freshToken();
    } catch {
      return this.#ended(BROKEN, "the token function failed");
    }
    if (!this.error) this.#connect(server, token);
  }

  async #freshToken(): Promise<string | undefined> {
    const { token } = this.wiring;
    return typeof token === "function" ? within(Promise.resolve(token()), TOKEN_TIMEOUT_MS) : token;
  }

  #connect(server: string, token: string | undefined): void {
    const socket = this.#newSocket(realtimeUrl(server));
    if (!socket) return this.#ended(BROKEN, "a WebSocket to this server is not allowed here");
    this.#socket = socket;
    this.#welcomedAt = undefined;
    this.#dialTimer = setTimeout(() => this.#drop("no connection in time"), OPEN_TIMEOUT_MS);
    socket.onopen = () => {
      clearTimeout(this.#dialTimer);
      this.protocol.connect(this.wiring.now(), token);
      this.#flush();
    };
    socket.onmessage = (event: { data: unknown }) => this.#receive(event.data);
    socket.onerror = () => undefined; // `close` follows
    socket.onclose = (event: { code: number; reason: string }) => {
      this.#leave();
      this.#ended(event.code, event.reason);
    };
  }

  #newSocket(url: string): Socket | undefined {
    try {
      return new this.wiring.WebSocket(url, [SUBPROTOCOL]);
    } catch {
      return undefined; // a page over https may not open ws://
    }
  }

  #receive(data: unknown): void {
    if (typeof data !== "string") return this.#drop("a binary frame");
    this.#take(this.protocol.receive([data], this.wiring.now()));
    this.wake();
  }

  #take(events: readonly Event<P, F>[]): void {
    for (const event of events) {
      if (event.type === "welcomed") {
        this.#welcomedAt = this.wiring.now();
        this.failover.learn(event.welcome.servers, this.state.server);
        this.#change({ connected: true, server: this.state.server, node: event.welcome.node, reason: "" });
      } else if (event.type === "accepted") {
        this.#tokenRefused = false;
      }
    }
    this.wiring.onEvents(events);
    const last = events[events.length - 1];
    if (last?.type === "broken") this.#drop(last.reason);
  }

  /** Give up a connection that is of no use: a half-open one would take minutes to close. */
  #drop(reason: string): void {
    const socket = this.#leave();
    if (!socket) return;
    closeQuietly(socket);
    this.#ended(BROKEN, reason);
  }

  #leave(): Socket | undefined {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#dialTimer);
    this.protocol.disconnect();
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    return socket;
  }

  #ended(code: number, reason: string): void {
    const { now } = this.wiring;
    const lastedMs = this.#welcomedAt === undefined ? 0 : Math.max(now() - this.#welcomedAt, 1);
    this.#welcomedAt = undefined;
    this.failover.ended(this.state.server, lastedMs, code, this.protocol.welcome.spreadMs);
    this.#change({ ...this.state, connected: false, node: "", reason: reason || `closed with ${code}` });
    const verdict = verdictOfClose(code);
    if (verdict === "never") this.stop(new ClientError("refused", `The server closed with ${code}: ${reason}`));
    else if (verdict === "fresh_token" && !this.#mayComeBack()) {
      this.stop(new CallerError("unauthorized", `The token was refused: ${reason}`));
    } else this.#dialLater();
  }

  /** A refused token gets one second chance, where a function can make a fresh one. */
  #mayComeBack(): boolean {
    const again = typeof this.wiring.token === "function" && !this.#tokenRefused;
    this.#tokenRefused = true;
    return again;
  }

  #change(state: State): void {
    this.state = state;
    this.wiring.onState(state);
  }
}

function closeQuietly(socket: Socket): void {
  try {
    socket.close(1000);
  } catch {
    // not open yet, or closed already: both are what is wanted
  }
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ClientError("connection_failed", "too late")), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
