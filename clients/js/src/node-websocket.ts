/**
 * A WebSocket for Node versions without one: text and binary messages, RFC 6455's client side over node:http's upgrade.
 * No extensions, no proxies. It has the part of the browser's interface that this library uses.
 */

import { createHash, randomBytes } from "node:crypto";
import { type Answer, request as requestHttp, type NodeSocket, type Outgoing } from "node:http";
import { request as requestHttps } from "node:https";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 1.3

/** One inbound message: a message of the server's default bound fits several times. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** The body of a refusal is a sentence; of a longer one nothing is kept. */
const MAX_REFUSAL_BYTES = 16 * 1024;

/** For the other side's close frame. */
const CLOSE_TIMEOUT_MS = 2_000;

const TEXT = 0x1;
const BINARY = 0x2;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;

class Violation extends Error {
  constructor(readonly code: number) {
    super(`WebSocket violation ${code}`);
  }
}

interface InFrame {
  readonly fin: boolean;
  readonly opcode: number;
  readonly payload: Uint8Array;
}

export class NodeWebSocket {
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  onerror: ((event: any) => void) | null = null;
  readonly #request: Outgoing;
  readonly #parser = new FrameParser();
  #socket: NodeSocket | undefined;
  #parts: Uint8Array[] = [];
  #opcode = 0;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;
  #closing = false;
  #over = false;
  #close: { code: number; reason: string; retryAfterMs?: number } = { code: 1006, reason: "" };

  constructor(url: string, protocols: readonly string[]) {
    const key = toBase64(randomBytes(16));
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": key,
      "Sec-WebSocket-Protocol": protocols.join(", "),
    };
    const secure = url.startsWith("wss:");
    this.#request = (secure ? requestHttps : requestHttp)(url.replace(/^ws/, "http"), { headers });
    this.#request.on("upgrade", (answer, socket, head) => {
      const accepted = createHash("sha1").update(key + GUID).digest("base64") === answer.headers["sec-websocket-accept"];
      if (accepted && protocols.includes(answer.headers["sec-websocket-protocol"] ?? "")) this.#opened(socket, head);
      else this.#ended(socket, "not this protocol");
    });
    this.#request.on("response", (answer) => this.#refused(answer));
    this.#request.on("error", (error) => this.#ended(undefined, error.message));
    this.#request.end();
  }

  #refused(answer: Answer): void {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    answer.on("data", (part) => {
      bytes += part.length;
      if (bytes <= MAX_REFUSAL_BYTES) parts.push(part);
    });
    answer.on("end", () => {
      this.#close.retryAfterMs = retryAfterMs(answer.headers["retry-after"], joined(parts));
      this.#ended(undefined, `HTTP ${answer.statusCode}`);
    });
  }

  #opened(socket: NodeSocket, head: Uint8Array): void {
    if (this.#over) return socket.destroy();
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.on("error", () => undefined); // `close` follows
    socket.on("close", () => this.#ended(undefined, ""));
    socket.on("data", (data) => this.#receive(data));
    this.onopen?.({});
    if (head.length > 0) this.#receive(head);
  }

  send(data: string): void {
    if (!this.#closing) this.#write(TEXT, new TextEncoder().encode(data));
  }

  close(code = 1000): void {
    if (this.#closing) return;
    this.#closing = true;
    if (!this.#socket) return this.#ended(undefined, "");
    this.#write(CLOSE, Uint8Array.of(code >> 8, code & 0xff));
    this.#closeTimer = setTimeout(() => this.#ended(this.#socket, ""), CLOSE_TIMEOUT_MS);
  }

  #write(opcode: number, payload: Uint8Array): void {
    this.#socket?.write(maskedFrame(opcode, payload, randomBytes(4)));
  }

  #receive(data: Uint8Array): void {
    try {
      for (const frame of this.#parser.feed(data)) this.#receiveFrame(frame);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.close(error.code);
      this.#ended(this.#socket, error.message);
    }
  }

  #receiveFrame({ fin, opcode, payload }: InFrame): void {
    if (opcode === PING) return this.#write(PONG, payload);
    if (opcode === PONG) return;
    if (opcode === CLOSE) return this.#receiveClose(payload);
    if (opcode > BINARY || (opcode === 0) !== this.#parts.length > 0) throw new Violation(1002);
    if (opcode !== 0) this.#opcode = opcode;
    this.#parts.push(payload);
    if (this.#parts.reduce((bytes, part) => bytes + part.length, 0) > MAX_MESSAGE_BYTES) throw new Violation(1009);
    if (!fin) return;
    const message = joined(this.#parts);
    this.#parts = [];
    this.onmessage?.({ data: this.#opcode === TEXT ? decodeText(message) : message });
  }

  #receiveClose(payload: Uint8Array): void {
    const [high, low] = payload;
    const code = high === undefined || low === undefined ? 1005 : high * 256 + low;
    this.#close = { code, reason: decodeText(payload.subarray(2)) };
    if (!this.#closing) this.#write(CLOSE, payload.subarray(0, 2));
    this.#closing = true;
    this.#ended(this.#socket, this.#close.reason);
  }

  #ended(socket: NodeSocket | undefined, reason: string): void {
    socket?.end();
    if (this.#over) return socket?.destroy();
    this.#over = this.#closing = true;
    clearTimeout(this.#closeTimer);
    if (!this.#socket) this.#request.destroy();
    this.onclose?.({ ...this.#close, reason: this.#close.reason || reason });
  }
}

/** Cuts a stream of bytes into frames, checking what a server may send. Pure. */
export class FrameParser {
  #buffer: Uint8Array = new Uint8Array(0);

  /** Return the frames that are complete with `data`; throws a `Violation`. */
  feed(data: Uint8Array): InFrame[] {
    this.#buffer = this.#buffer.length > 0 ? joined([this.#buffer, data]) : data;
    const frames: InFrame[] = [];
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #next(): InFrame | undefined {
    const buffer = this.#buffer;
    const [first, second] = buffer;
    if (first === undefined || second === undefined) return undefined;
    const opcode = first & 0x0f;
    const control = opcode >= CLOSE;
    if ((first & 0x70) !== 0 || second > 127 || (control && (first < 0x80 || second > 125))) throw new Violation(1002);
    const start = 2 + (second === 126 ? 2 : second === 127 ? 8 : 0);
    if (buffer.length < start) return undefined;
    const length = start === 2 ? second : bigEndian(buffer.subarray(2, start));
    if (length > MAX_MESSAGE_BYTES) throw new Violation(1009);
    if (buffer.length < start + length) return undefined;
    this.#buffer = buffer.subarray(start + length);
    return { fin: first >= 0x80, opcode, payload: buffer.subarray(start, start + length) };
  }
}

/** One final frame as a client must send it. */
export function maskedFrame(opcode: number, payload: Uint8Array, mask: Uint8Array): Uint8Array {
  const size = payload.length;
  const header = size < 126 ? [size] : size < 65_536 ? [126, size >> 8, size & 0xff] : [127, ...eightBytes(size)];
  header[0] = (header[0] as number) | 0x80;
  const frame = new Uint8Array(1 + header.length + 4 + size);
  frame.set([0x80 | opcode, ...header]);
  frame.set(mask, 1 + header.length);
  const body = frame.subarray(5 + header.length);
  for (let index = 0; index < size; index += 1) body[index] = (payload[index] as number) ^ (mask[index & 3] as number);
  return frame;
}

function eightBytes(value: number): number[] {
  return Array.from({ length: 8 }, (_, index) => Math.floor(value / 2 ** (8 * (7 - index))) % 256);
}

function bigEndian(bytes: Uint8Array): number {
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((bytes, part) => bytes + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Violation(1007);
  }
}

/** When to come back: exactly, where the body of a refusal says so, else in whole seconds; 0 for nothing said. */
export function retryAfterMs(header: string | undefined, body: Uint8Array): number {
  try {
    const { retry_ms: exact } = JSON.parse(new TextDecoder().decode(body)).error;
    if (Number.isSafeInteger(exact) && exact >= 0) return exact;
  } catch {
    // no such body: the header says it
  }
  return header !== undefined && /^\d{1,8}$/.test(header) ? Number(header) * 1000 : 0;
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
