/** The pure parts: outbox, failover, the queue, the frames of the built-in WebSocket. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { HeadraceError, isTemporary } from "../dist/errors.js";
import { checkedServer, Failover, realtimeUrl } from "../dist/failover.js";
import { FrameParser, maskedFrame } from "../dist/node-websocket.js";
import { Outbox, WINDOW } from "../dist/outbox.js";
import { checkedSince } from "../dist/positions.js";
import { Protocol } from "../dist/protocol.js";
import { Queue } from "../dist/queue.js";

const busy = new HeadraceError("unavailable", "busy", 1000);

function outboxWith(...entries) {
  const outbox = new Outbox();
  for (const [sequence, topic = "p/t", deadline = Infinity] of entries) {
    outbox.add({ sequence, topic, frame: `${topic}#${sequence}`, bytes: 10, deadline, handle: sequence, inFlight: false, done: false });
  }
  return outbox;
}

test("a retried publish holds up its topic and no other", () => {
  const outbox = outboxWith([1], [2], [3, "p/other"]);
  assert.deepEqual(outbox.release(1), ["p/t#1"]);
  outbox.retry(1, busy, 0);
  assert.deepEqual(outbox.release(10), ["p/other#3"]);
  outbox.wake(999);
  assert.deepEqual(outbox.release(10), []);
  outbox.wake(1000);
  assert.deepEqual(outbox.release(10), ["p/t#1", "p/t#2"]);
});

test("no number is sent a window above the oldest unanswered one of its topic", () => {
  const outbox = outboxWith([1], [WINDOW, "p/t"], [WINDOW + 1, "p/t"], [WINDOW + 2, "p/other"]);
  assert.deepEqual(outbox.release(9), ["p/t#1", `p/t#${WINDOW}`, `p/other#${WINDOW + 2}`]);
  outbox.finish(1, 0);
  assert.deepEqual(outbox.release(9), [`p/t#${WINDOW + 1}`]);
});

test("after a reconnect everything unanswered goes first, in order", () => {
  const outbox = outboxWith([1], [2], [3]);
  outbox.release(2);
  outbox.finish(1, 0);
  outbox.restart();
  assert.deepEqual(outbox.release(9), ["p/t#2", "p/t#3"]);
});

test("a publish is given up at its deadline, and not sent any more", () => {
  const outbox = outboxWith([1, "p/t", 500], [2]);
  assert.equal(outbox.nextDue(0), 0);
  assert.deepEqual(outbox.expire(100), []);
  assert.equal(outbox.expire(600)[0][1].code, "publish_timeout");
  assert.deepEqual(outbox.release(9), ["p/t#2"]);
  assert.equal(outbox.bytes, 10);
});

test("what was given up does not pile up while there is no connection", () => {
  const outbox = new Outbox();
  for (let sequence = 0; sequence < 10_000; sequence += 1) {
    outbox.add({ sequence, topic: "p/t", frame: "", bytes: 0, deadline: 0, handle: 0, inFlight: false, done: false });
    outbox.finish(sequence, 0);
  }
  assert.deepEqual([outbox.pending.size, outbox.bytes, outbox.release(9).length], [0, 0, 0]);
});

test("every server is tried before any is tried again, and the failed one comes last", () => {
  const failover = new Failover(["http://a", "http://b/", "http://c"], () => 0.5);
  const round = [failover.next(0), failover.next(0), failover.next(0)].map((attempt) => attempt.server);
  assert.deepEqual([...round].sort(), ["http://a", "http://b", "http://c"]);
  failover.ended("http://a", 10_000, 1006, 0);
  const next = [failover.next(0), failover.next(0), failover.next(0)].map((attempt) => attempt.server);
  assert.equal(next[2], "http://a");
});

test("the first try after a break is at once, later ones wait longer and longer up to five seconds", () => {
  const failover = new Failover(["http://a"], () => 1);
  failover.ended("http://a", 10_000, 1006, 0);
  const delays = [];
  for (let attempt = 0; attempt < 9; attempt += 1) {
    delays.push(failover.next(0).at);
    failover.ended("http://a", 0, 1006, 0);
  }
  assert.deepEqual(delays, [0, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

test("a restart spreads its clients over the time that the node asked for", () => {
  const failover = new Failover(["http://a"], () => 0.5);
  failover.ended("http://a", 10_000, 1012, 8_000);
  assert.equal(failover.next(0).at, 4_000);
  failover.ended("http://a", 10_000, 1006, 8_000);
  assert.equal(failover.next(0).at, 500);
});

test("a connection that does not hold counts as a failure", () => {
  const failover = new Failover(["http://a"], () => 1);
  failover.ended("http://a", 100, 4000, 0);
  assert.equal(failover.next(0).at, 200);
});

test("servers of a welcome are taken over, unencrypted ones never from an encrypted node", () => {
  const failover = new Failover(["https://a"], () => 0);
  failover.learn(["http://b", "https://c/", "nonsense", "https://user:pw@d"], "https://a");
  assert.deepEqual(failover.servers, ["https://a", "https://c"]);
  failover.learn([], "https://a");
  assert.equal(failover.servers.length, 2);
});

test("a server is a base URL without a secret", () => {
  assert.equal(realtimeUrl(checkedServer("https://a:1/x/")), "wss://a:1/x/v1/realtime");
  for (const url of ["", "ftp://a", "http://u:p@a", "http://a?token=x", "http://a#x"]) assert.throws(() => checkedServer(url), RangeError);
});

test("since is checked before it is sent", () => {
  assert.deepEqual(checkedSince({ epoch: 1, offset: -1, extra: 1 }), { epoch: 1, offset: -1 });
  for (const since of [null, "then", {}, { last: -1 }, { last: 1.5 }, { epoch: 1 }, { epoch: 2 ** 53, offset: 0 }]) {
    assert.throws(() => checkedSince(since), RangeError);
  }
});

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

test("temporary is what the server gave a time for, and what may have been stored", () => {
  assert.ok(isTemporary(new HeadraceError("anything", "", 1)));
  assert.ok(isTemporary(new HeadraceError("unknown_outcome", "")));
  assert.ok(!isTemporary(new HeadraceError("out_of_memory", "")));
});

test("a queue keeps its order", () => {
  const queue = new Queue();
  for (let item = 0; item < 5_000; item += 1) queue.push(item);
  for (let item = 0; item < 3_000; item += 1) assert.equal(queue.shift(), item);
  queue.unshift([-2, -1]);
  assert.deepEqual([queue.length, queue.peek(), [...queue].at(-1)], [2_002, -2, 4_999]);
  assert.equal(new Queue().shift(), undefined);
});

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

test("a hello that cannot be judged for now is sent again, alone", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0, "s3cret");
  protocol.follow("p/t", "now", "handle");
  const [hello, ...more] = protocol.outgoing(0).map((text) => JSON.parse(text));
  assert.deepEqual([hello.op, hello.token, more], ["hello", "s3cret", []]);
  assert.deepEqual(protocol.outgoing(0), []);
  const busy = { op: "error", id: hello.id, code: "unavailable", reason: "no keys", retry_ms: 500 };
  assert.deepEqual(protocol.receive([JSON.stringify(busy)], 10).map((event) => event.type), ["complained"]);
  assert.equal(protocol.nextDue(10), 510);
  assert.deepEqual(protocol.outgoing(509), []);
  assert.deepEqual(protocol.outgoing(510).map((text) => JSON.parse(text)), [hello]);
  assert.deepEqual(protocol.receive([JSON.stringify({ op: "ok", id: hello.id })], 520), [{ type: "accepted" }]);
  assert.deepEqual(protocol.outgoing(520).map((text) => JSON.parse(text).op), ["subscribe"]);
});
