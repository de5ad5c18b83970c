/** The state of what a client consumes. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Consumings, MAX_ACKS } from "../dist/consuming.js";
import { HeadraceError } from "../dist/errors.js";
import { Requests } from "../dist/requests.js";

const WORK = "default/jobs";
const busy = new HeadraceError("unavailable", "busy", 500);
const forbidden = new HeadraceError("forbidden", "no");
let requests;
let state;

beforeEach(() => {
  requests = new Requests();
  state = new Consumings(requests);
  reconnect();
});

function reconnect() {
  requests.close();
  state.drop();
  requests.open();
  state.restart();
}

function sent() {
  state.flush();
  return requests.take().map((frame) => JSON.parse(frame));
}

function attached(id) {
  return state.receiveAttached({ op: "attached", id, subscription: WORK, topic: "p/t", window: 5, ack_deadline_s: 10 });
}

function attach() {
  state.attach(WORK, 5);
  attached(sent()[0].id);
}

function ack(...acks) {
  return acks.map((each) => state.settle({ verb: "ack", subscription: WORK, ack: each }, Infinity));
}

function settled(id, refused = {}) {
  const told = Object.entries(refused).map(([each, code]) => ({ ack: each, code }));
  return state.receiveSettled({ op: "settled", id, subscription: WORK, refused: told }).map(({ error }) => error?.code);
}

test("attached on every connection, and answers to earlier asks change nothing", () => {
  state.attach(WORK, 5);
  assert.deepEqual(sent(), [{ op: "attach", id: 1, subscription: WORK, window: 5 }]);
  reconnect();
  assert.deepEqual(sent(), [{ op: "attach", id: 2, subscription: WORK, window: 5 }]);
  assert.deepEqual(attached(1), []);
  assert.deepEqual(attached(2).map(({ type }) => type), ["attached"]);
  assert.throws(() => state.attach(WORK, 5), { code: "already_subscribed" });
});

test("deliveries count once attached", () => {
  const delivery = { op: "delivery", subscription: WORK, topic: "p/t", deliveries: [] };
  state.attach(WORK, 5);
  assert.deepEqual(state.receiveDelivery(delivery), []);
  attached(sent()[0].id);
  assert.deepEqual(state.receiveDelivery(delivery), [{ type: "delivered", subscription: WORK, leases: [] }]);
  state.detach(WORK);
  assert.deepEqual(state.receiveDelivery(delivery), []);
});

test("an attach refused for now is asked again in time, one for good ends it", () => {
  state.attach(WORK, 5);
  assert.deepEqual(state.receiveRefusal(sent()[0].id, busy, 1000), []);
  assert.deepEqual(state.dues().filter((due) => due !== undefined), [1500]);
  state.poll(1499);
  assert.deepEqual(sent(), []);
  state.poll(1500);
  const events = state.receiveRefusal(sent()[0].id, forbidden, 1600);
  assert.deepEqual(events, [{ type: "released", subscription: WORK, error: forbidden }]);
  reconnect();
  assert.deepEqual(sent(), []);
});

test("what is settled together goes in one frame, of so many acks at most", () => {
  attach();
  const tickets = ack("1.1-t", "2.1-t");
  state.settle({ verb: "nack", subscription: WORK, ack: "3.1-t" }, Infinity);
  state.settle({ verb: "extend", subscription: WORK, ack: "4.1-t", argument: 60 }, Infinity);
  const frames = sent();
  assert.deepEqual(
    frames.map(({ op, acks, deadline_s }) => [op, acks, deadline_s]),
    [["ack", ["1.1-t", "2.1-t"], undefined], ["nack", ["3.1-t"], undefined], ["extend", ["4.1-t"], 60]],
  );
  assert.equal(tickets.length, 2);
  assert.deepEqual(settled(frames[0].id, { "2.1-t": "stale" }), [undefined, "lease_lost"]);
  assert.equal(state.unanswered, 2);
  ack(...Array.from({ length: MAX_ACKS + 1 }, (_, number) => `${number}.1-t`));
  assert.deepEqual(sent().map(({ acks }) => acks.length), [MAX_ACKS, 1]);
});

test("what has no answer is sent again, and an ack that finds nothing then was done", () => {
  attach();
  ack("1.1-t", "2.1-t");
  const [first] = sent();
  reconnect();
  const [, again] = sent();
  assert.deepEqual(again.acks, ["1.1-t", "2.1-t"]);
  assert.deepEqual(settled(first.id), []);
  assert.deepEqual(settled(again.id, { "1.1-t": "unknown", "2.1-t": "stale" }), [undefined, "lease_lost"]);
});

test("settling is tried again while the log is away, and given up in time", () => {
  attach();
  ack("1.1-t");
  assert.deepEqual(state.receiveRefusal(sent()[0].id, busy, 1000), []);
  state.poll(1499);
  assert.deepEqual(sent(), []);
  state.poll(1500);
  const [{ id }] = sent();
  assert.deepEqual(state.receiveRefusal(id, forbidden, 1600).map(({ error }) => error.code), ["forbidden"]);
  state.settle({ verb: "ack", subscription: WORK, ack: "2.1-t" }, 2000);
  assert.deepEqual(state.poll(1999), []);
  assert.deepEqual(state.poll(2000).map(({ error }) => error.code), ["settle_timeout"]);
  assert.deepEqual(sent(), []);
  assert.equal(state.receiveRefusal(99, forbidden, 0), undefined);
});

test("the end of the client ends everything", () => {
  attach();
  ack("1.1-t");
  assert.deepEqual(state.fail(forbidden).map(({ type }) => type), ["settled", "released"]);
});
