/** What passes through a client: messages, gaps, and the answers to publishes. */

import { CallerError } from "./errors.js";
import type { Position, Range, Recovery } from "./positions.js";

export type Kind = "json" | "text" | "binary";
export type Durability = "memory" | "replica" | "disk";

/** Where a message stands. `duplicate`: an earlier attempt had stored it already; it is in the log once. */
export interface Published extends Position {
  readonly duplicate: boolean;
}

/** Messages that this subscriber does not get, or got before they were rolled back. Empty `missing` for `lost`. */
export interface Gap {
  readonly topic: string;
  readonly recovery: Recovery;
  readonly missing: readonly Range[];
}

/** The answer to a subscription: delivery starts right after `after`; the log ended at `end` at that moment. */
export interface Started {
  readonly after: Position;
  readonly end: Position;
  readonly recovery: Recovery;
  /** Where it was asked for: the newest message that was published with `retained`. */
  readonly snapshot: Message | undefined;
}

/** One message of a topic. `value` is what it holds: any JSON value, a string, or bytes, as `kind` says. */
export class Message {
  constructor(
    readonly topic: string,
    readonly position: Position,
    /** Publish time, Unix milliseconds, never decreasing within a topic. */
    readonly timeMs: number,
    readonly kind: Kind,
    readonly value: unknown,
    readonly attributes: Readonly<Record<string, string>>,
  ) {}

  /** The payload as text: JSON is written compact, bytes are read as UTF-8. */
  get text(): string {
    if (this.kind === "text") return this.value as string;
    return this.kind === "json" ? JSON.stringify(this.value) : new TextDecoder().decode(this.value as Uint8Array);
  }

  /** The payload as bytes. */
  get data(): Uint8Array {
    return this.kind === "binary" ? (this.value as Uint8Array) : new TextEncoder().encode(this.text);
  }

  /** The payload as a JSON value; throws a `SyntaxError` when a text or binary one is not JSON. */
  json(): unknown {
    return this.kind === "json" ? this.value : JSON.parse(this.text);
  }
}

/** The payload of a publish: exactly one of these. */
export interface Payload {
  readonly text?: string | undefined;
  readonly json?: unknown;
  readonly data?: Uint8Array | undefined;
}

/** Return the fields of a `publish` frame, or throw `invalid_message`. */
export function payloadFields(payload: Payload): Record<string, unknown> {
  const given = (["text", "json", "data"] as const).filter((name) => payload[name] !== undefined);
  if (given.length !== 1) throw new CallerError("invalid_message", "Give exactly one of text, json and data.");
  if (payload.text !== undefined) return { text: payload.text };
  if (payload.data !== undefined) return { base64: encodeBase64(payload.data) };
  return { json: payload.json };
}

const CHUNK_BYTES = 32_768; // arguments of one call

export function encodeBase64(data: Uint8Array): string {
  let binary = "";
  for (let start = 0; start < data.length; start += CHUNK_BYTES) {
    binary += String.fromCharCode(...data.subarray(start, start + CHUNK_BYTES));
  }
  return btoa(binary);
}

export function decodeBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** A message as it was delivered to a consumer. `ack` settles it, `attempt` counts from 1. */
export interface Lease {
  readonly ack: string;
  readonly attempt: number;
  readonly message: Message;
}

/** The answer to consuming a subscription. A lease lasts `ackDeadlineS` seconds unless it is extended. */
export interface Attached {
  readonly subscription: string;
  readonly topic: string;
  readonly window: number;
  readonly ackDeadlineS: number;
}
