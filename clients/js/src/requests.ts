/** The requests of one client: their ids, and the frames that wait to be written. Pure. */

import type { Frame } from "./frames.js";

/** Stands for the `id` of a frame that has none. */
export const NO_ID = -1;

/** Ids rise for the client's life, so that an answer from an earlier connection matches nothing. */
export class Requests {
  connected = false;
  #id = 0;
  #frames: string[] = [];

  open(): void {
    this.connected = true;
    this.#frames = [];
  }

  close(): void {
    this.connected = false;
    this.#frames = [];
  }

  /** The id that `next` gives. */
  get following(): number {
    return this.#id + 1;
  }

  next(): number {
    this.#id += 1;
    return this.#id;
  }

  /** Queue a frame; nothing without a connection. */
  send(frame: Frame): void {
    if (this.connected) this.#frames.push(JSON.stringify(frame)); // leaves undefined fields out
  }

  /** Return the frames to write now, once. */
  take(): string[] {
    const frames = this.#frames;
    this.#frames = [];
    return frames;
  }
}

export function idOf(frame: Frame): number {
  const id = frame["id"];
  return typeof id === "number" ? id : NO_ID;
}
