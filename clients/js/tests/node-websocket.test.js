/** The frames of the built-in WebSocket. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { FrameParser, maskedFrame, retryAfterMs } from "../dist/node-websocket.js";

const server = (first, size, ...rest) => Uint8Array.from([first, size, ...rest]);

test("WebSocket frames are cut from any stream of bytes", () => {
  const bytes = [...server(0x81, 2, 104, 105), ...server(0x82, 126, 0, 200, ...Array(200).fill(7)), ...server(0x89, 0)];
  const parser = new FrameParser();
  const found = bytes.flatMap((byte) => parser.feed(Uint8Array.of(byte)));
  assert.deepEqual(found.map(({ opcode, payload }) => [opcode, payload.length]), [[1, 2], [2, 200], [9, 0]]);
  assert.equal(new FrameParser().feed(Uint8Array.from(bytes)).length, 3);
});

test("WebSocket frames that no server may send are refused", () => {
  for (const bytes of [[0x81, 0x80, 0, 0, 0, 0], [0xc1, 0], [0x09, 0], [0x89, 126, 0, 126], [0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]]) {
    assert.throws(() => new FrameParser().feed(Uint8Array.from(bytes)), /violation/);
  }
});

test("what a client sends is masked, with the length in its shortest form", () => {
  const mask = Uint8Array.of(1, 2, 3, 4);
  assert.deepEqual([...maskedFrame(1, Uint8Array.of(1, 1, 1, 1, 1), mask)], [0x81, 0x85, 1, 2, 3, 4, 0, 3, 2, 5, 0]);
  assert.deepEqual([...maskedFrame(1, new Uint8Array(126), mask).subarray(0, 4)], [0x81, 0xfe, 0, 126]);
  assert.deepEqual([...maskedFrame(1, new Uint8Array(65_536), mask).subarray(0, 10)], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
});

test("a refusal says when to come back, exactly in its body", () => {
  const body = (value) => new TextEncoder().encode(JSON.stringify(value));
  assert.equal(retryAfterMs("7", body({ error: { retry_ms: 6_100 } })), 6_100);
  for (const other of [{ error: {} }, { error: { retry_ms: "6" } }, [], null]) assert.equal(retryAfterMs("7", body(other)), 7_000);
  assert.equal(retryAfterMs("soon", body({})), 0);
  assert.equal(retryAfterMs(undefined, new Uint8Array(0)), 0);
});
