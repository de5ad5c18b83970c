/**
 * The loop that keeps one connection: dial, feed the state machine, write what it wants written, come back.
 *
 * A node that is leaving says so (`drain`): then another connection is made first, and for a moment there are two.
 */

import { Dialing } from "./dialing.js";
import { CallerError, ClientError, type HeadraceError } from "./errors.js";
import type { Event } from "./events.js";
import { type Failover, fits, type Schedule, verdictOfClose } from "./failover.js";
import { Link, type OpenFailed, type SocketClass, type Token } from "./link.js";
import type { Protocol } from "./protocol.js";

/** How long the connection that is being left is kept for answers that the new one owes. */
const MOVE_TIMEOUT_MS = 10_000;

const BROKEN = 1006;

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
  readonly schedule: Schedule;
  readonly now: () => number;
  /** Calls back when the machine has a network again; returns how to stop that. */
  readonly onNetworkUp: (listener: () => void) => () => void;
  readonly onEvents: (events: readonly Event<P, F>[]) => void;
  readonly onState: (state: State) => void;
}

export class Connector<P, F> {
  state: State = { connected: false, server: "", node: "", reason: "" };
  /** Why the client is over. */
  error: HeadraceError | undefined;
  #link: Link | undefined;
  #old: Link | undefined;
  #dialing: Dialing | undefined;
  #isMoving = false;
  #welcomedAt: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerDue = Infinity;
  #dialTimer: ReturnType<typeof setTimeout> | undefined;
  #leaveTimer: ReturnType<typeof setTimeout> | undefined;
  #flushing = false;
  #tokenRefused = false;
  #forgetNetwork: () => void = () => undefined;

  constructor(
    private readonly protocol: Protocol<P, F>,
    private readonly failover: Failover,
    private readonly wiring: Wiring<P, F>,
  ) {}

  start(): void {
    this.#forgetNetwork = this.wiring.onNetworkUp(() => this.networkUp());
    this.#dialLater();
  }

  /** The client is over: close the connection, and end all that waits with `error`. */
  stop(error: HeadraceError): void {
    if (this.error) return;
    this.error = error;
    this.#forgetNetwork();
    this.#stopDialing();
    clearTimeout(this.#timer);
    this.#leave();
    this.wiring.onEvents(this.protocol.fail(error));
    this.#change({ ...this.state, connected: false, reason: error.message });
  }

  /** The machine has a network again: try at once, or see whether the connection still lives. */
  networkUp(): void {
    if (this.error) return;
    if (this.#link) {
      this.protocol.probe(this.wiring.now());
      return this.wake();
    }
    this.failover.networkUp();
    if (!this.#dialing) this.#dialLater();
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
    if (this.#link) for (const frame of this.protocol.outgoing(this.wiring.now())) this.#link.send(frame);
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
    this.#stopDialing();
    const attempt = this.error ? undefined : this.failover.next(this.wiring.now());
    if (!attempt) return;
    const { WebSocket, token, schedule, now } = this.wiring;
    const options = { WebSocket, token, timeoutMs: schedule.connectTimeoutMs, greeted: this.#isMoving };
    const dial = (): void => {
      this.#dialing = new Dialing(attempt.server, {
        open: (server) => new Link(server, options),
        another: (besides) => (this.error ? undefined : this.failover.another(now(), besides)),
        failed: (server, error) => this.#openFailed(server, error),
        patienceMs: schedule.secondDialMs,
        done: (link) => (link ? this.#use(link) : this.#dialLater()),
      });
    };
    this.#dialTimer = setTimeout(dial, Math.max(attempt.at - now(), 0));
  }

  #stopDialing(): void {
    clearTimeout(this.#dialTimer);
    this.#dialing?.cancel();
    this.#dialing = undefined;
  }

  #openFailed(server: string, error: OpenFailed): void {
    this.failover.failed(server, this.wiring.now(), error.retryAfterMs);
    if (!this.#link) this.#change({ connected: false, server, node: "", reason: error.message });
  }

  /** A connection is open: the first, that after a break, or the one that takes over from a node that is leaving. */
  #use(link: Link): void {
    this.#stopDialing();
    this.#leaveOld();
    this.#old = this.#link;
    this.#link = link;
    this.#isMoving = false;
    this.#welcomedAt = undefined;
    if (this.#old) {
      this.protocol.move(this.wiring.now(), link.token);
      this.#leaveTimer = setTimeout(() => this.#leaveOld(), MOVE_TIMEOUT_MS);
    } else {
      this.protocol.connect(this.wiring.now(), link.token);
    }
    link.start({
      receive: (data) => this.#receive(link, data),
      closed: (code, reason) => this.#closed(link, code, reason),
    });
    this.#flush();
  }

  #receive(link: Link, data: unknown): void {
    if (link === this.#old) {
      if (typeof data === "string") this.#take(this.protocol.receiveOld(data, this.wiring.now()));
    } else if (link === this.#link) {
      if (typeof data !== "string") return this.#drop("a binary frame");
      this.#take(this.protocol.receive([data], this.wiring.now()));
    }
    if (this.#old && !this.protocol.isMoving) this.#leaveOld();
    this.wake();
  }

  #closed(link: Link, code: number, reason: string): void {
    if (link === this.#old) return this.#leaveOld();
    if (link !== this.#link) return;
    this.#leave();
    this.#ended(link.server, code, reason);
  }

  #take(events: readonly Event<P, F>[]): void {
    for (const event of events) {
      if (event.type === "welcomed") this.#welcomed();
      else if (event.type === "accepted") this.#tokenRefused = false;
      else if (event.type === "listed") this.failover.learn(event.servers, this.state.server);
      else if (event.type === "draining") this.#move(event.spreadMs);
    }
    this.wiring.onEvents(events);
    const last = events[events.length - 1];
    if (last?.type === "broken") this.#drop(last.reason);
  }

  #welcomed(): void {
    const { node, servers, retentionMs } = this.protocol.welcome;
    const server = this.#link?.server ?? "";
    this.#welcomedAt = this.wiring.now();
    this.failover.learn(servers, server);
    if (retentionMs !== undefined && !fits(this.wiring.schedule, retentionMs)) {
      console.warn(`headrace: messages are kept for ${retentionMs} ms, the client may be away for half of it`);
    }
    this.#change({ connected: true, server, node, reason: "" });
  }

  /** The node is leaving: look for another while the connection goes on. */
  #move(spreadMs: number): void {
    if (this.#isMoving || !this.#link) return;
    this.#isMoving = true;
    this.failover.drained(this.#link.server, spreadMs);
    this.#dialLater();
  }

  #leaveOld(): void {
    const old = this.#old;
    if (!old) return;
    this.#old = undefined;
    clearTimeout(this.#leaveTimer);
    this.protocol.leave();
    old.abort();
  }

  /** Give up a connection that is of no use. */
  #drop(reason: string): void {
    const link = this.#link;
    if (!link) return;
    this.#leave();
    this.#ended(link.server, BROKEN, reason);
  }

  #leave(): void {
    const link = this.#link;
    this.#leaveOld();
    this.#link = undefined;
    this.#isMoving = false;
    this.protocol.disconnect();
    link?.abort();
  }

  #ended(server: string, code: number, reason: string): void {
    const now = this.wiring.now();
    const lastedMs = this.#welcomedAt === undefined ? 0 : now - this.#welcomedAt;
    this.failover.ended(server, now, lastedMs, this.protocol.welcome.spreadMs);
    this.#change({ connected: false, server, node: "", reason: reason || `closed with ${code}` });
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
