/** Positions: where a subscriber stands in a topic's log. Two may be compared by offset only within one epoch. */

/** The place of one message; offset -1 is the place before an epoch's first one. Keep it to go on right after it. */
export interface Position {
  readonly epoch: number;
  readonly offset: number;
}

/** Offsets `first` to `last`, both included, of one epoch. */
export interface Range {
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
}

/** How the way from a presented position went; see protocol/realtime.md 4. */
export type Recovery = "complete" | "none" | "trimmed" | "rolled_back" | "lost";

/** Where to start. `time` is Unix milliseconds; a position is the last message seen. */
export type Since = "now" | "earliest" | { readonly last: number } | { readonly time: number } | Position;

export function isPosition(since: Since): since is Position {
  return typeof since === "object" && "epoch" in since;
}

function isInteger(value: unknown, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

/** Return a copy with nothing else in it, or throw a `RangeError`. */
export function checkedSince(since: Since): Since {
  if (since === "now" || since === "earliest") return since;
  if (typeof since === "object" && since !== null) {
    const fields: Record<string, unknown> = { ...since };
    const { epoch, offset, last, time } = fields;
    if (isInteger(epoch, 0) && isInteger(offset, -1)) return { epoch, offset };
    if (Object.keys(fields).length === 1 && isInteger(last, 0)) return { last };
    if (Object.keys(fields).length === 1 && isInteger(time, 0)) return { time };
  }
  throw new RangeError('since is "now", "earliest", {last: n}, {time: ms} or a position');
}

const POSITION = /^(\d{1,16})-(\d{1,16}|-1)$/;
const COUNTED = /^(last|time):(\d{1,16})$/;

/** Read `now`, `earliest`, `last:N`, `time:MS` or `EPOCH-OFFSET`, or throw a `RangeError`. */
export function parseSince(text: string): Since {
  if (text === "now" || text === "earliest") return text;
  const counted = COUNTED.exec(text);
  if (counted) return checkedSince(counted[1] === "last" ? { last: Number(counted[2]) } : { time: Number(counted[2]) });
  const position = POSITION.exec(text);
  if (position) return checkedSince({ epoch: Number(position[1]), offset: Number(position[2]) });
  throw new RangeError("not now, earliest, last:N, time:MS or EPOCH-OFFSET");
}

/** Write a position as `EPOCH-OFFSET`, which `parseSince` reads. */
export function formatPosition(position: Position): string {
  return `${position.epoch}-${position.offset}`;
}

/** What a connected subscriber presents next once it was told of a gap (protocol/realtime.md 4). */
export function afterGap(recovery: Recovery, missing: readonly Range[]): Since {
  const first = missing[0];
  const last = missing[missing.length - 1];
  if (recovery === "lost" || !first || !last) return "earliest";
  if (recovery === "rolled_back" && missing.length === 1) return { epoch: first.epoch, offset: first.first - 1 };
  return { epoch: last.epoch, offset: last.last };
}
