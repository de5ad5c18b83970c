/** Publishes on their way. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { HeadraceError } from "../dist/errors.js";
import { Outbox, WINDOW } from "../dist/outbox.js";

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
