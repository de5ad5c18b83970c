/** The state of one client; what its parts decide is in their own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Protocol } from "../dist/protocol.js";

test("an idle node is pinged, and given up when it stays silent", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  protocol.receive(['{"op":"welcome","ping_ms":20000}'], 1_000);
  protocol.outgoing(0);
  assert.equal(protocol.nextDue(1_000), 21_000);
  assert.deepEqual(protocol.poll(20_999), []);
  protocol.poll(21_000);
  assert.deepEqual(protocol.outgoing(0), ['{"op":"ping"}']);
  assert.deepEqual(protocol.poll(30_999), []);
  assert.equal(protocol.poll(31_000)[0].type, "broken");
});

test("a subscribe that the log cannot answer yet is sent again with the same place", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  protocol.follow("p/t", { epoch: 1, offset: 2 }, "handle");
  const [, ask] = protocol.outgoing(0).map((text) => JSON.parse(text));
  protocol.receive([JSON.stringify({ op: "error", id: ask.id, code: "unavailable", reason: "", retry_ms: 500 })], 0);
  assert.equal(protocol.nextDue(0), 500);
  protocol.poll(500);
  const [again] = protocol.outgoing(0).map((text) => JSON.parse(text));
  assert.deepEqual({ ...again, id: ask.id }, ask);
});

test("frames that were under way when a topic was put aside are dropped, and come again", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  protocol.follow("p/t", "now", "handle");
  const subscribed = (offset) => {
    const ask = protocol.outgoing(0).map((text) => JSON.parse(text)).find((frame) => frame.op === "subscribe");
    const place = { epoch: 1, offset };
    const answer = { op: "subscribed", id: ask.id, topic: "p/t", ...place, after: ask.since === "now" ? place : ask.since, recovery: "complete" };
    return protocol.receive([JSON.stringify(answer)], 0);
  };
  const message = (offset) => protocol.receive([JSON.stringify({ op: "message", topic: "p/t", epoch: 1, offset, time: 1, text: "x" })], 0);
  subscribed(0);
  assert.equal(message(1).length, 1);
  protocol.park("p/t");
  assert.equal(message(2).length, 0);
  protocol.unpark("p/t");
  assert.equal(message(3).length, 0);
  subscribed(3);
  assert.deepEqual([message(2).length, message(3).length], [1, 1]);
});
