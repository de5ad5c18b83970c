/** One connection, from its dial on: a token for it, a WebSocket, and what came before anybody listened. */

import { ClientError } from "./errors.js";
import { realtimeUrl } from "./failover.js";

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

/** No connection came about. `retryAfterMs` is the server's word when to come back, where it can be seen. */
export class OpenFailed extends Error {
  constructor(
    reason: string,
    readonly retryAfterMs = 0,
  ) {
    super(reason);
  }
}

export interface LinkOptions {
  readonly WebSocket: SocketClass;
  readonly token: Token | undefined;
  /** For the connection, TLS and the handshake together, and once more for the welcome. */
  readonly timeoutMs: number;
  /** Whether it is ready with the node's first frame only: what is to take over must be there. */
  readonly greeted: boolean;
}

export interface Listener {
  receive(data: unknown): void;
  closed(code: number, reason: string): void;
}

export class Link {
  /** Resolves when it is open; rejects with `OpenFailed`. */
  readonly ready: Promise<void>;
  /** The token that it was opened with. */
  token: string | undefined;
  #settle!: { resolve: () => void; reject: (error: OpenFailed) => void };
  #socket: Socket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #listener: Listener | undefined;
  #early: unknown[] = [];
  #end: { readonly code: number; readonly reason: string } | undefined;

  constructor(
    readonly server: string,
    private readonly options: LinkOptions,
  ) {
    this.ready = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.ready.catch(() => undefined); // a link that is aborted has nobody waiting
    void this.#open();
  }

  async #open(): Promise<void> {
    try {
      this.token = await freshToken(this.options.token);
    } catch {
      return this.#ended(BROKEN, "the token function failed");
    }
    if (this.#end) return;
    try {
      this.#socket = new this.options.WebSocket(realtimeUrl(this.server), [SUBPROTOCOL]);
    } catch {
      return this.#ended(BROKEN, "a WebSocket to this server is not allowed here"); // a page over https may not open ws://
    }
    this.#listen(this.#socket);
  }

  #listen(socket: Socket): void {
    this.#wait("no connection in time");
    socket.onopen = () => {
      if (this.options.greeted) this.#wait("no welcome in time");
      else this.#opened();
    };
    socket.onmessage = (event: { data: unknown }) => this.#receive(event.data);
    socket.onerror = () => undefined; // `close` follows
    socket.onclose = (event: { code: number; reason: string; retryAfterMs?: number }) =>
      this.#ended(event.code, event.reason, event.retryAfterMs);
  }

  #wait(reason: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#drop(reason), this.options.timeoutMs);
  }

  #opened(): void {
    clearTimeout(this.#timer);
    this.#settle.resolve();
  }

  #receive(data: unknown): void {
    if (this.#listener) return this.#listener.receive(data);
    this.#early.push(data);
    this.#opened();
  }

  #drop(reason: string): void {
    this.#ended(BROKEN, reason);
    this.abort();
  }

  #ended(code: number, reason: string, retryAfterMs?: number): void {
    if (this.#end) return;
    clearTimeout(this.#timer);
    this.#end = { code, reason };
    this.#settle.reject(new OpenFailed(reason || `closed with ${code}`, retryAfterMs)); // nothing once it is open
    this.#listener?.closed(code, reason);
  }

  /** Deliver from now on, beginning with what came before. */
  start(listener: Listener): void {
    this.#listener = listener;
    const early = this.#early;
    this.#early = [];
    for (const data of early) listener.receive(data);
    if (this.#end) listener.closed(this.#end.code, this.#end.reason);
  }

  send(frame: string): void {
    if (!this.#end) this.#socket?.send(frame);
  }

  /** Close it; whatever it still says is not listened to. A half-open one would take minutes to say so itself. */
  abort(): void {
    clearTimeout(this.#timer);
    this.#listener = undefined;
    this.#end ??= { code: BROKEN, reason: "" };
    const socket = this.#socket;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(1000);
    } catch {
      // not open yet, or closed already: both are what is wanted
    }
  }
}

async function freshToken(token: Token | undefined): Promise<string | undefined> {
  return typeof token === "function" ? within(Promise.resolve(token()), TOKEN_TIMEOUT_MS) : token;
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ClientError("connection_failed", "too late")), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
