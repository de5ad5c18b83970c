/** The client against protocol/vectors.json, which the server's tests read too. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { verdictOfClose } from "../dist/failover.js";
import * as frames from "../dist/frames.js";
import { encodeBase64, Message, payloadFields } from "../dist/messages.js";
import { checkedSince, parseSince } from "../dist/positions.js";
import { Protocol } from "../dist/protocol.js";

const vectors = JSON.parse(readFileSync(new URL("../../../protocol/vectors.json", import.meta.url), "utf8"));
const NOW = 100_000;
const bytesOf = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));

for (const { name, json, map, message, messages } of vectors.server_frames.filter((vector) => vector.json !== undefined)) {
  test(`server frame: ${name}`, () => {
    const frame = frames.readFrame(json);
    if (!JSON.stringify(map).includes("$bytes")) assert.deepEqual(frame, map);
    if (frame.op === "message") checkMessage(frames.readMessage(frame), message);
    else if (frame.op === "welcome") assert.equal(frames.readWelcome(frame).pingMs, frame.ping_ms);
    else if (frame.op === "subscribed") {
      assert.deepEqual(frames.readStarted(frame).after, frame.after);
      assert.deepEqual(frames.readMissing(frame), frame.missing);
    } else if (frame.op === "gap") assert.equal(frames.readRecovery(frame), frame.recovery);
    else if (frame.op === "published") assert.equal(frames.readPublished(frame).duplicate, frame.duplicate ?? false);
    else if (frame.op === "error") {
      const { code, retryMs, message: reason } = frames.readError(frame);
      assert.deepEqual([code, reason, retryMs], [frame.code, frame.reason, frame.retry_ms]);
    } else if (frame.op === "attached") assert.equal(frames.readAttached(frame).ackDeadlineS, frame.ack_deadline_s);
    else if (frame.op === "delivery") {
      const leases = frames.readDeliveries(frame);
      assert.deepEqual(leases.map(({ ack, attempt }) => ({ ack, attempt })), frame.deliveries.map(({ ack, attempt }) => ({ ack, attempt })));
      leases.forEach((lease, index) => checkMessage(lease.message, messages[index]));
    } else if (frame.op === "settled") {
      assert.deepEqual([...frames.readRefused(frame)], frame.refused.map(({ ack, code }) => [ack, code]));
    } else if (frame.op === "servers" || frame.op === "drain") {
      assert.deepEqual(frames.readServers(frame), frame.servers);
      assert.equal(frames.readSpread(frame), frame.spread_ms);
    } else assert.ok(["ok", "pong"].includes(frame.op));
  });
}

function checkMessage(message, content) {
  const { topic, position, timeMs, kind, attributes } = message;
  const { hex, ...expected } = content;
  assert.deepEqual({ attributes: {}, ...expected }, { topic, ...position, time: timeMs, kind, attributes });
  if (kind === "json") assert.deepEqual(message.value, JSON.parse(Buffer.from(hex, "hex").toString()));
  else assert.deepEqual(Buffer.from(message.data).toString("hex"), hex);
}

for (const { name, json, map, payload } of vectors.client_frames.filter((vector) => vector.json !== undefined)) {
  test(`client frame: ${name}`, () => {
    const parsed = JSON.parse(json);
    if (json === json.replaceAll(" ", "") && Number.isSafeInteger(map.id ?? 0)) {
      assert.deepEqual(JSON.parse(JSON.stringify(parsed)), parsed);
    }
    if (map.op === "publish") checkPayload(parsed, payload);
  });
}

function checkPayload(frame, { kind, hex }) {
  const data = bytesOf(hex);
  const text = Buffer.from(data).toString();
  if (kind === "binary") assert.deepEqual(payloadFields({ data }), { base64: frame.base64 });
  else if (kind === "text") assert.deepEqual(payloadFields({ text }), { text: frame.text });
  else assert.deepEqual(payloadFields({ json: JSON.parse(text) }), { json: frame.json });
}

for (const { name, since, steps } of vectors.sequences) {
  test(`sequence: ${name}`, () => {
    const protocol = new Protocol("p", "t");
    protocol.connect(NOW);
    for (const [topic, place] of Object.entries(since)) protocol.follow(topic, checkedSince(place), topic);
    const asked = new Map();
    const look = () => {
      for (const frame of protocol.outgoing(NOW).map((text) => JSON.parse(text))) {
        if (frame.op === "subscribe") asked.set(frame.topic, frame.id);
      }
    };
    look();
    const placed = new Set();
    for (const { frame, outcome, resume } of steps) {
      const { topic } = frame;
      const known = protocol.places.has(topic);
      let received = frame;
      if (frame.op === "subscribed") {
        if (placed.has(topic)) {
          protocol.disconnect(); // a second answer to a subscribe comes on a new connection
          protocol.connect(NOW);
          look();
        }
        received = { ...frame, id: asked.get(topic) };
        placed.add(topic);
      }
      assert.equal(outcomeOf(protocol.receive([JSON.stringify(received)], NOW), frame, known), outcome);
      assert.deepEqual(Object.fromEntries(protocol.places), resume);
    }
  });
}

function outcomeOf(events, frame, known) {
  if (events.some((event) => event.type === "ended")) return "ended";
  if (events.some((event) => event.type === "arrived" && !(event.item instanceof Message))) return "reported";
  if (!["message", "gap"].includes(frame.op) || !known) return "nothing";
  return events.length > 0 ? "delivered" : "dropped";
}

test("since words", () => {
  for (const { text, value } of vectors.since) assert.deepEqual(parseSince(text), value);
  for (const text of vectors.invalid_since) assert.throws(() => parseSince(text), RangeError, text);
});

test("close codes", () => {
  const meaning = { come_back: true, never: false, fresh_token: "fresh_token" };
  for (const { code, comes_back: expected } of vectors.closes) assert.equal(meaning[verdictOfClose(code)], expected, `${code}`);
});

test("base64 of much", () => {
  const data = Uint8Array.from({ length: 100_000 }, (_, index) => index % 256);
  assert.equal(encodeBase64(data), Buffer.from(data).toString("base64"));
});
