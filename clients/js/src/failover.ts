/**
 * Which server next, and when. Pure: time and chance are passed in.
 *
 * Every server of the list is tried once, in random order, before any is tried again. The first try after a break comes
 * after a random part of what the node asked for (at most a second unless it announced a restart), every later one after
 * a random part of a delay that doubles up to `MAX_DELAY_MS` (full jitter). A connection that held for `STABLE_MS` starts
 * the count anew. The client never gives up by itself; a final close code ends it.
 */

const BASE_DELAY_MS = 100;
const MAX_DELAY_MS = 5_000;
const MAX_FIRST_DELAY_MS = 1_000;
const STABLE_MS = 5_000;
const MAX_LEARNED = 100;
const RESTART = 1012;

/** What a close code means: come back, come back once with a fresh token (where a function makes them), or never. */
export type Verdict = "come_back" | "fresh_token" | "never";

export function verdictOfClose(code: number): Verdict {
  if (code === 4500 || code === 4501) return "fresh_token";
  if ([1002, 1003, 1007, 1008, 1009].includes(code) || (code >= 4500 && code <= 4999)) return "never";
  return "come_back";
}

export interface Attempt {
  /** A base URL. */
  readonly server: string;
  /** Monotonic milliseconds. */
  readonly at: number;
}

const SCHEMES = ["http:", "https:", "ws:", "wss:"];

/** Return a base URL without a slash at its end, or throw a `RangeError`. */
export function checkedServer(server: string): string {
  let url: URL | undefined;
  try {
    url = new URL(server);
  } catch {
    // reported below, without the text: it may hold a secret
  }
  if (!url || !SCHEMES.includes(url.protocol)) throw new RangeError("a server is a base URL such as https://host:8080");
  if (url.username || url.password || url.search || url.hash) {
    throw new RangeError("a server's URL holds no credentials, query or fragment: pass the token option instead");
  }
  return server.replace(/\/+$/, "");
}

/** The WebSocket URL of a base URL. */
export function realtimeUrl(server: string): string {
  return `${server.replace(/^http/i, "ws")}/v1/realtime`;
}

export class Failover {
  readonly #configured: readonly string[];
  #learned: readonly string[] = [];
  #cycle: string[] = [];
  #failures = 0;
  #firstDelayMs = 0;

  /** `random` returns a number from 0 to below 1. */
  constructor(
    servers: readonly string[],
    private readonly random: () => number,
  ) {
    this.#configured = [...new Set(servers.map(checkedServer))];
    if (this.#configured.length === 0) throw new RangeError("give at least one server");
  }

  /** Everything that may be tried, the configured ones first. */
  get servers(): string[] {
    return [...new Set([...this.#configured, ...this.#learned])];
  }

  /**
   * Take over the list of a node's welcome, an empty one says nothing. Where the node was reached encrypted, its
   * unencrypted peers are not taken: they would be sent the token.
   */
  learn(servers: readonly string[], server: string): void {
    if (servers.length === 0) return;
    const valid = servers.slice(0, MAX_LEARNED).filter(isServer);
    this.#learned = valid.map(checkedServer).filter((url) => isEncrypted(url) || !isEncrypted(server));
  }

  next(now: number): Attempt {
    if (this.#cycle.length === 0) this.#cycle = this.#shuffled(this.servers);
    const server = this.#cycle.shift() as string; // there is at least one configured
    return { server, at: now + this.#delay() };
  }

  #shuffled(servers: readonly string[]): string[] {
    const order = [...servers];
    for (let last = order.length - 1; last > 0; last -= 1) {
      const other = Math.floor(this.random() * (last + 1));
      [order[last], order[other]] = [order[other] as string, order[last] as string];
    }
    return order;
  }

  #delay(): number {
    if (this.#failures === 0) return this.random() * this.#firstDelayMs;
    return this.random() * Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** Math.min(this.#failures, 16));
  }

  /** A connection is over, or none came about (`lastedMs` 0): begin a new round where there was one. */
  ended(server: string, lastedMs: number, code: number, spreadMs: number): void {
    this.#failures = lastedMs >= STABLE_MS ? 0 : this.#failures + 1;
    if (lastedMs <= 0) return;
    this.#firstDelayMs = code === RESTART ? spreadMs : Math.min(spreadMs, MAX_FIRST_DELAY_MS);
    this.#cycle = [...this.#shuffled(this.servers.filter((url) => url !== server)), server];
  }
}

function isServer(url: string): boolean {
  try {
    return checkedServer(url) !== "";
  } catch {
    return false;
  }
}

function isEncrypted(url: string): boolean {
  return /^(https|wss):/i.test(url);
}
