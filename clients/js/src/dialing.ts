/**
 * One attempt to connect: a dial, and a second one to another server where the first does not answer.
 *
 * Happy eyeballs (RFC 8305) over servers instead of addresses: a server that hangs costs 300 ms, one that refuses nothing.
 */

import type { Link, OpenFailed } from "./link.js";

export interface DialingOptions {
  readonly open: (server: string) => Link;
  /** A server to dial beside the one it is given. */
  readonly another: (besides: string) => string | undefined;
  readonly failed: (server: string, error: OpenFailed) => void;
  /** How long the first dial stays alone. */
  readonly patienceMs: number;
  /** What opened first, undefined when nothing did. Called once, unless it is cancelled. */
  readonly done: (link: Link | undefined) => void;
}

export class Dialing {
  readonly #links = new Set<Link>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isAlone = true;
  #over = false;

  constructor(
    private readonly server: string,
    private readonly options: DialingOptions,
  ) {
    this.#timer = setTimeout(() => this.#second(), options.patienceMs);
    this.#dial(server);
  }

  cancel(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    for (const link of this.#links) link.abort();
  }

  #dial(server: string): void {
    const link = this.options.open(server);
    this.#links.add(link);
    link.ready.then(
      () => this.#opened(link),
      (error: OpenFailed) => this.#failed(link, error),
    );
  }

  #opened(link: Link): void {
    if (this.#over) return;
    this.#links.delete(link);
    this.cancel();
    this.options.done(link);
  }

  #failed(link: Link, error: OpenFailed): void {
    if (this.#over) return;
    this.#links.delete(link);
    this.options.failed(link.server, error);
    this.#second();
    if (this.#over || this.#links.size > 0) return;
    this.cancel();
    this.options.done(undefined);
  }

  #second(): void {
    if (this.#over || !this.#isAlone) return;
    this.#isAlone = false;
    clearTimeout(this.#timer);
    const server = this.options.another(this.server);
    if (server !== undefined) this.#dial(server);
  }
}
