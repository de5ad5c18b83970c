/** Reading server frames, strictly: a malformed one throws `bad_frame`. Pure. */

import { badFrame, errorOf, type HeadraceError } from "./errors.js";
import type { Server } from "./failover.js";
import { type Attached, decodeBase64, type Lease, Message, type Published, type Started } from "./messages.js";
import type { Position, Range, Recovery } from "./positions.js";

export type Frame = Record<string, unknown>;

/** Ranges of one frame that are looked at: an epoch chain is far shorter. */
const MAX_MISSING = 10_000;

const RECOVERIES: ReadonlySet<unknown> = new Set(["complete", "none", "trimmed", "rolled_back", "lost"]);

/** What the node said of itself; undefined is what it did not say. Times are milliseconds. */
export interface Welcome {
  readonly node: string;
  readonly servers: readonly Server[];
  readonly pingMs: number;
  readonly spreadMs: number | undefined;
  readonly frameBytes: number;
  readonly inFlight: number;
  /** How long messages are kept at least. */
  readonly retentionMs: number | undefined;
}

export const DEFAULT_WELCOME: Welcome = {
  node: "",
  servers: [],
  pingMs: 25_000,
  spreadMs: undefined,
  frameBytes: 2_200_000,
  inFlight: 1024,
  retentionMs: undefined,
};

export function readFrame(text: string): Frame {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw badFrame("a frame that is not JSON");
  }
  return asMap(value);
}

export function readWelcome(frame: Frame): Welcome {
  const limits = asMap(frame["limits"] ?? {});
  return {
    node: asText(frame["node"] ?? ""),
    servers: readServers(frame),
    pingMs: asInteger(frame["ping_ms"] ?? DEFAULT_WELCOME.pingMs, 1),
    spreadMs: readSpread(frame),
    frameBytes: asInteger(limits["frame_bytes"] ?? DEFAULT_WELCOME.frameBytes, 1),
    inFlight: asInteger(limits["in_flight"] ?? DEFAULT_WELCOME.inFlight, 1),
    retentionMs: asOptional(limits["retention_ms"]),
  };
}

export function readServers(frame: Frame): Server[] {
  const entries = asList(frame["servers"] ?? []).map(asMap);
  return entries.map((entry) => ({ url: asText(entry["url"]), weight: asInteger(entry["weight"] ?? 1, 0) }));
}

export function readSpread(frame: Frame): number | undefined {
  return asOptional(frame["spread_ms"]);
}

function asOptional(value: unknown): number | undefined {
  return value === undefined || value === null ? undefined : asInteger(value, 0);
}

export function readMessage(frame: Frame): Message {
  const attributes = asMap(frame["attributes"] ?? {}) as Record<string, string>;
  const build = (kind: Message["kind"], value: unknown): Message =>
    new Message(readTopic(frame), readPosition(frame), asInteger(frame["time"], 0), kind, value, attributes);
  if ("json" in frame) return build("json", frame["json"]);
  if ("text" in frame) return build("text", asText(frame["text"]));
  try {
    return build("binary", decodeBase64(asText(frame["base64"])));
  } catch {
    throw badFrame("a message frame with a malformed payload");
  }
}

export function readStarted(frame: Frame): Started {
  const { after, snapshot: told } = frame;
  const snapshot = told === undefined || told === null ? undefined : readMessage({ ...asMap(told), topic: readTopic(frame) });
  return { after: readPosition(asMap(after)), end: readPosition(frame), recovery: readRecovery(frame), snapshot };
}

export function readRecovery(frame: Frame): Recovery {
  if (RECOVERIES.has(frame["recovery"])) return frame["recovery"] as Recovery;
  throw badFrame("an unknown recovery");
}

export function readMissing(frame: Frame): Range[] {
  const missing = asList(frame["missing"] ?? []);
  if (missing.length > MAX_MISSING) throw badFrame("too many missing ranges");
  return missing.map(asMap).map((entry) => ({
    epoch: asInteger(entry["epoch"], 0),
    first: asInteger(entry["first"], 0),
    last: asInteger(entry["last"], 0),
  }));
}

export function readPublished(frame: Frame): Published {
  return { ...readPosition(frame), duplicate: frame["duplicate"] === true };
}

export function readError(frame: Frame): HeadraceError {
  const reason = asText(frame["reason"] ?? "");
  return errorOf(asText(frame["code"]), reason, asOptional(frame["retry_ms"]));
}

export function readSubscription(frame: Frame): string {
  return asText(frame["subscription"]);
}

export function readAttached(frame: Frame): Attached {
  return {
    subscription: readSubscription(frame),
    topic: readTopic(frame),
    window: asInteger(frame["window"], 1),
    ackDeadlineS: asInteger(frame["ack_deadline_s"], 0),
  };
}

export function readDeliveries(frame: Frame): Lease[] {
  const topic = readTopic(frame);
  return asList(frame["deliveries"]).map((entry) => {
    const fields = asMap(entry);
    const message = readMessage({ ...fields, topic });
    return { ack: asText(fields["ack"]), attempt: asInteger(fields["attempt"], 1), message };
  });
}

/** The acks that were settled in vain, each with its code. */
export function readRefused(frame: Frame): Map<string, string> {
  const told = asList(frame["refused"] ?? []).map(asMap);
  return new Map(told.map((entry) => [asText(entry["ack"]), asText(entry["code"])]));
}

export function readTopic(frame: Frame): string {
  return asText(frame["topic"]);
}

function readPosition(frame: Frame): Position {
  return { epoch: asInteger(frame["epoch"], 0), offset: asInteger(frame["offset"], -1) };
}

function asInteger(value: unknown, least: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= least) return value;
  throw badFrame("a field that is not an integer in its range");
}

function asText(value: unknown): string {
  if (typeof value === "string") return value;
  throw badFrame("a field that is not a string");
}

function asMap(value: unknown): Frame {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Frame;
  throw badFrame("a field that is not a map");
}

function asList(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  throw badFrame("a field that is not a list");
}
