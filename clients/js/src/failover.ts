/**
 * Which server next, and when. Pure: time and chance are passed in (protocol/failover.md has the rules).
 *
 * Every server is tried once, in an order that weights and recent failures bend, before any is tried again. The first try
 * after a break comes after a random part of what the node asked for, every later one after a random part of a delay that
 * doubles (full jitter): a herd that lost its node does not come back in step. The client never gives up by itself; a
 * final close code ends it. All times are milliseconds, those named `now` and `at` of one monotonic clock.
 */

/** However long a server asks to be left alone, it is tried again after this. */
const MAX_TOLD_MS = 60_000;
/** A time that a server named is kept with a random part of this added: others may have been told the same. */
const TOLD_SPREAD_MS = 1_000;
/** A connection that held so long starts the count of attempts anew. */
const STABLE_MS = 5_000;
/** A server's penalty halves in this time. */
const HALF_LIFE_MS = 30_000;
/** Failures that weigh: with all of them a server keeps 1/256 of its weight. */
const MAX_PENALTY = 8;
/** Servers taken over from a node's list. */
const MAX_LEARNED = 100;
const MAX_DOUBLINGS = 16;

/** A base URL and its share of connections: 1 is usual, 0 a last resort, none what the nodes say of it. */
export interface Server {
  readonly url: string;
  readonly weight?: number | undefined;
}

/** How fast a client comes back, in milliseconds. */
export interface Schedule {
  /** The longest delay before the second attempt in a row; it doubles with each. */
  readonly baseMs: number;
  /** The longest delay of all. */
  readonly capMs: number;
  /** The first attempt after a break is spread over this at least, over the node's `spread_ms` where that is more. */
  readonly leastFirstMs: number;
  /** A dial without an answer for so long gets company: whichever opens first stays. */
  readonly secondDialMs: number;
  /** For the connection, TLS and the handshake together. */
  readonly connectTimeoutMs: number;
  /** A connection that brought nothing for so long is dead; after half of it the client asks for a sign of life. */
  readonly halfOpenMs: number;
}

export const SCHEDULE: Schedule = {
  baseMs: 2_000,
  capMs: 20_000,
  leastFirstMs: 100,
  secondDialMs: 300,
  connectTimeoutMs: 2_000,
  halfOpenMs: 10_000,
};

/** Whether a log that keeps messages this long outlasts the longest absence twice over. */
export function fits({ capMs, halfOpenMs, connectTimeoutMs }: Schedule, retentionMs: number): boolean {
  return capMs + halfOpenMs + 2 * connectTimeoutMs <= retentionMs / 2;
}

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

interface Penalty {
  readonly amount: number;
  readonly at: number;
}

/** The list of servers, and what each has done to us. */
export class Failover {
  readonly #configured: ReadonlyMap<string, number | undefined>;
  #learned = new Map<string, number>();
  readonly #refused = new Set<string>();
  readonly #leaving = new Set<string>();
  readonly #tried = new Set<string>();
  readonly #told = new Map<string, number>();
  readonly #penalties = new Map<string, Penalty>();
  #last: string | undefined;
  #attempts = 0;
  #firstMs = 0;

  /** `draw` returns a random number from 0 to below 1. */
  constructor(
    servers: readonly (string | Server)[],
    private readonly draw: () => number,
    private readonly schedule: Schedule = SCHEDULE,
  ) {
    this.#configured = new Map(servers.map(configured));
    if (this.#configured.size === 0) throw new RangeError("give at least one server");
  }

  /** Everything that may be tried, the configured ones first. */
  get servers(): string[] {
    return [...new Set([...this.#configured.keys(), ...this.#learned.keys()])].filter((url) => !this.#refused.has(url));
  }

  /**
   * Take over a node's list; an empty one says nothing, and the configured servers stay. Where the node was reached
   * encrypted, its unencrypted peers are not taken: they would be sent the token.
   */
  learn(servers: readonly Server[], server: string): void {
    if (servers.length === 0) return;
    const taken = servers.slice(0, MAX_LEARNED).filter(({ url }) => isServer(url));
    const safe = taken.filter(({ url }) => isEncrypted(url) || !isEncrypted(server));
    this.#learned = new Map(safe.map(({ url, weight }) => [checkedServer(url), weight ?? 1]));
    for (const url of this.#learned.keys()) this.#leaving.delete(url);
  }

  /** The node asks to be left: find another, and come back to it only where there is none. */
  drained(server: string, spreadMs: number): void {
    this.#leaving.add(server);
    this.#begin(spreadMs);
  }

  /** The next attempt; undefined when every server has refused for good. */
  next(now: number): Attempt | undefined {
    const server = this.#choose(now, undefined);
    if (server === undefined) return undefined;
    const told = this.#told.get(server) ?? now;
    const part = this.draw();
    this.#attempts += 1;
    if (told > now) return { server, at: told + part * TOLD_SPREAD_MS };
    return { server, at: now + part * this.#rangeMs(this.#attempts) };
  }

  #rangeMs(attempt: number): number {
    if (attempt === 1) return this.#firstMs;
    return Math.min(this.schedule.capMs, this.schedule.baseMs * 2 ** Math.min(attempt - 2, MAX_DOUBLINGS));
  }

  /** A server to dial beside the one that has not answered, undefined where there is none. */
  another(now: number, besides: string): string | undefined {
    return this.#choose(now, besides);
  }

  #choose(now: number, besides: string | undefined): string | undefined {
    const others = this.servers.filter((url) => url !== besides);
    const known = unlessEmpty(others.filter((url) => !this.#leaving.has(url)), others);
    if (known.length === 0) return undefined;
    const told = (url: string): number => this.#told.get(url) ?? now;
    const ready = known.filter((url) => told(url) <= now);
    if (ready.length === 0 && besides !== undefined) return undefined;
    const soonest = (): string => known.reduce((best, url) => (told(url) < told(best) ? url : best));
    const server = ready.length > 0 ? this.#drawn(this.#candidates(ready, besides), now) : soonest();
    this.#tried.add(server);
    return server;
  }

  #candidates(ready: string[], besides: string | undefined): string[] {
    let fresh = ready.filter((url) => !this.#tried.has(url));
    if (fresh.length === 0) {
      this.#tried.clear();
      if (besides !== undefined) this.#tried.add(besides);
      fresh = ready;
    }
    const regular = unlessEmpty(fresh.filter((url) => this.#weight(url) > 0), fresh);
    return unlessEmpty(regular.filter((url) => url !== this.#last), regular);
  }

  #drawn(candidates: readonly string[], now: number): string {
    const shares = candidates.map((url) => (this.#weight(url) || 1) * 2 ** -this.#penalty(url, now));
    let mark = this.draw() * shares.reduce((sum, share) => sum + share, 0);
    const index = shares.findIndex((share) => (mark -= share) < 0);
    return candidates[index < 0 ? candidates.length - 1 : index] as string; // rounding may leave some over
  }

  #weight(url: string): number {
    return this.#configured.get(url) ?? this.#learned.get(url) ?? 1;
  }

  /** A dial came to nothing. `retryAfterMs`: the server's word when to come back, 0 for none. */
  failed(server: string, now: number, retryAfterMs = 0): void {
    this.#punish(server, now);
    if (retryAfterMs > 0) this.#told.set(server, now + Math.min(retryAfterMs, MAX_TOLD_MS));
  }

  /** This server will never take us: it is not tried again. */
  refused(server: string): void {
    this.#refused.add(server);
  }

  /** A connection is over that had been welcomed `lastedMs` before. `spreadMs`: what its node asked for. */
  ended(server: string, now: number, lastedMs: number, spreadMs: number | undefined): void {
    this.#punish(server, now);
    this.#leaving.clear();
    if (lastedMs >= STABLE_MS) this.#begin(Math.max(this.schedule.leastFirstMs, spreadMs ?? this.schedule.baseMs));
  }

  /** The machine has a network again: what failed without one says nothing of the servers. */
  networkUp(): void {
    this.#penalties.clear();
    this.#begin(0);
  }

  #begin(firstMs: number): void {
    this.#attempts = 0;
    this.#firstMs = firstMs;
    this.#tried.clear();
  }

  #punish(server: string, now: number): void {
    this.#last = server;
    this.#penalties.set(server, { amount: Math.min(this.#penalty(server, now) + 1, MAX_PENALTY), at: now });
  }

  #penalty(server: string, now: number): number {
    const { amount, at } = this.#penalties.get(server) ?? { amount: 0, at: now };
    return amount * 2 ** ((at - now) / HALF_LIFE_MS);
  }
}

function unlessEmpty(wanted: string[], otherwise: string[]): string[] {
  return wanted.length > 0 ? wanted : otherwise;
}

function configured(server: string | Server): [string, number | undefined] {
  const { url, weight } = typeof server === "string" ? { url: server, weight: undefined } : server;
  if (weight !== undefined && !(weight >= 0 && weight < Infinity)) throw new RangeError("a weight is a number from 0 up");
  return [checkedServer(url), weight];
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
