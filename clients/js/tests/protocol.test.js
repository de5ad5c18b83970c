/** The state of one client; what its parts decide is in their own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Protocol } from "../dist/protocol.js";

test("an idle node is pinged, and given up when it stays silent", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  protocol.receive(['{"op":"welcome","ping_ms":20000}'], 1_000);
  protocol.outgoing(0);
  assert.equal(protocol.nextDue(1_000), 6_000);
  assert.deepEqual(protocol.poll(5_999), []);
  protocol.poll(6_000);
  assert.deepEqual(protocol.outgoing(0), ['{"op":"ping"}']);
  assert.deepEqual(protocol.poll(10_999), []);
  assert.equal(protocol.poll(11_000)[0].type, "broken");
});

test("a probe asks at once, and once; a node may want pings sooner", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  protocol.receive(['{"op":"welcome","ping_ms":2000}'], 0);
  protocol.outgoing(0);
  assert.equal(protocol.nextDue(0), 2_000);
  protocol.probe(1_000);
  protocol.probe(1_500);
  assert.deepEqual(protocol.outgoing(0), ['{"op":"ping"}']);
  assert.equal(protocol.poll(6_000)[0].type, "broken");
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

/** A client that follows p/t from (7, 4) on. */
function followed() {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  protocol.follow("p/t", "earliest", "handle");
  place(protocol, sent(protocol).at(-1).id);
  return protocol;
}

const sent = (protocol) => protocol.outgoing(0).map((text) => JSON.parse(text));
const tell = (protocol, frame) => protocol.receive([JSON.stringify(frame)], 0);
const tellOld = (protocol, frame) => protocol.receiveOld(JSON.stringify(frame), 0);
const message = (offset, epoch = 7) => ({ op: "message", topic: "p/t", epoch, offset, time: 1, text: "x" });

function place(protocol, id) {
  const after = { epoch: 7, offset: 4 };
  return tell(protocol, { op: "subscribed", id, topic: "p/t", ...after, after, recovery: "complete" });
}

test("a move asks there and listens here until it is answered", () => {
  const protocol = followed();
  protocol.move(1_000);
  const [, ask] = sent(protocol);
  assert.deepEqual(ask.since, { epoch: 7, offset: 4 });
  assert.equal([5, 6].flatMap((offset) => tellOld(protocol, message(offset))).length, 2);
  assert.ok(protocol.isMoving);
  place(protocol, ask.id);
  assert.ok(!protocol.isMoving);
  assert.deepEqual(tellOld(protocol, message(7)), []);
  const offsets = [5, 6, 7, 8].flatMap((offset) => tell(protocol, message(offset))).map((event) => event.item.position.offset);
  assert.deepEqual(offsets, [7, 8]);
});

test("a move across an epoch asks again", () => {
  const protocol = followed();
  protocol.move(1_000);
  const [, ask] = sent(protocol);
  tellOld(protocol, message(5, 8));
  assert.deepEqual(place(protocol, ask.id), []);
  const [unsubscribe, again] = sent(protocol);
  assert.deepEqual([unsubscribe.op, again.since], ["unsubscribe", { epoch: 8, offset: 5 }]);
});

test("with a token the old node is listened to until the new one has accepted it", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  protocol.move(0, "s3cret");
  const [hello] = sent(protocol);
  assert.ok(protocol.isMoving);
  tell(protocol, { op: "ok", id: hello.id });
  assert.ok(!protocol.isMoving);
});

test("publishes in flight go to the new node, and the old one may answer them", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  const id = protocol.publish("p/t", { text: "x" }, {}, "handle", 1e9);
  const before = sent(protocol).slice(1);
  protocol.move(1_000);
  assert.deepEqual(sent(protocol).slice(1), before);
  assert.deepEqual(tellOld(protocol, { op: "error", id, code: "unavailable", reason: "leaving" }), []);
  const answer = { op: "published", id, epoch: 7, offset: 5, time: 1 };
  assert.equal(tellOld(protocol, answer)[0].type, "answered");
  assert.deepEqual(tell(protocol, answer), []);
});

test("what makes no sense from the old node ends the listening", () => {
  const protocol = followed();
  protocol.move(1_000);
  assert.deepEqual(tellOld(protocol, { op: "gap", topic: 7 }), []);
  assert.ok(!protocol.isMoving);
});

test("settlements on their way are answered by the old node, or sent again when it is gone", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0);
  const tickets = ["1", "2"].map((ack) => protocol.consumings.settle({ verb: ack === "1" ? "ack" : "nack", subscription: "p/s", ack }, 1e9));
  const [, ack] = sent(protocol);
  protocol.move(1_000);
  assert.equal(sent(protocol).length, 1);
  const settled = { op: "settled", id: ack.id, subscription: "p/s", refused: [] };
  assert.deepEqual(tellOld(protocol, settled), [{ type: "settled", ticket: tickets[0], error: undefined }]);
  assert.ok(protocol.isMoving);
  protocol.leave();
  assert.deepEqual(sent(protocol).map(({ op, acks }) => [op, acks]), [["nack", ["2"]]]);
});

test("what the old node brought stays when it is gone before the new one answers", () => {
  const protocol = followed();
  protocol.move(1_000);
  const [, ask] = sent(protocol);
  for (const offset of [5, 6]) tellOld(protocol, message(offset));
  protocol.leave();
  place(protocol, ask.id);
  const offsets = [5, 6, 7].flatMap((offset) => tell(protocol, message(offset))).map((event) => event.item.position.offset);
  assert.deepEqual(offsets, [7]);
});

test("a topic that is put aside while the client moves is not listened to", () => {
  const protocol = followed();
  protocol.move(1_000);
  protocol.park("p/t");
  assert.ok(!protocol.isMoving);
  assert.deepEqual(tellOld(protocol, message(5)), []);
  protocol.unpark("p/t");
  assert.deepEqual(sent(protocol).at(-1).since, { epoch: 7, offset: 4 });
});
