/** Consuming a durable subscription, through a client and a scripted node. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Client } from "../dist/node.js";
import { ScriptedNode, until } from "./scripted-node.js";

const WORK = "default/jobs";
let node;
let client;

beforeEach(async () => {
  node = new ScriptedNode();
  await node.start();
  client = new Client(node.url, { schedule: { baseMs: 100, capMs: 1_000 } });
});

afterEach(async () => {
  await client.close(0);
  await node.stop();
});

async function take(consumer, count) {
  const deliveries = [];
  for await (const delivery of consumer) if (deliveries.push(delivery) === count) break;
  return deliveries;
}

test("deliveries are iterated, and acked in one frame", async () => {
  const consumer = client.consume(WORK, { window: 7 });
  assert.deepEqual(await consumer.attached, { subscription: WORK, topic: "default/lines", window: 7, ackDeadlineS: 10 });
  node.deliver(WORK, 1, 2);
  const [first, second] = await take(consumer, 2);
  assert.deepEqual([first.message.text, first.message.topic, second.attempt], ["1", "default/lines", 1]);
  await Promise.all([first.ack(), second.ack()]);
  assert.deepEqual(node.ops("ack").map((frame) => frame.acks), [["1.1-t", "2.1-t"]]);
});

test("the verbs carry their numbers", async () => {
  const consumer = client.consume(WORK);
  await consumer.attached;
  node.deliver(WORK, 1);
  const [delivery] = await take(consumer, 1);
  await delivery.extend(60);
  await delivery.nack(250);
  await delivery.nack();
  assert.equal(node.ops("extend")[0].deadline_s, 60);
  assert.deepEqual(node.ops("nack").map((frame) => frame.delay_ms), [250, undefined]);
});

test("a lost lease rejects", async () => {
  node.refused.set("1.1-t", "stale");
  const consumer = client.consume(WORK);
  await consumer.attached;
  node.deliver(WORK, 1);
  const [delivery] = await take(consumer, 1);
  await assert.rejects(delivery.ack(), { code: "lease_lost", name: "CallerError" });
});

test("it comes back, and settles what an earlier connection brought", async () => {
  const consumer = client.consume(WORK);
  await consumer.attached;
  node.deliver(WORK, 1);
  const [delivery] = await take(consumer, 1);
  node.mute = true;
  const acked = delivery.ack();
  await until(() => node.ops("ack").length === 1);
  node.mute = false;
  node.refused.set("1.1-t", "unknown"); // the first ack did it
  node.cut();
  await acked;
  assert.equal(node.ops("attach").length, 2);
  node.deliver(WORK, 2);
  assert.deepEqual((await take(consumer, 1)).map(({ message }) => message.text), ["2"]);
});

test("a cursor is refused", async () => {
  node.answer = (frame) => (frame.op === "attach" ? { op: "error", id: frame.id, code: "wrong_kind", reason: "no" } : undefined);
  const consumer = client.consume(WORK);
  await assert.rejects(consumer.attached, { code: "wrong_kind" });
  await assert.rejects(take(consumer, 1), { code: "wrong_kind" });
});

test("a subscription that is deleted ends the iteration", async () => {
  const consumer = client.consume(WORK);
  await consumer.attached;
  node.deliver(WORK, 1);
  node.say({ op: "error", code: "unknown_subscription", reason: "gone", subscription: WORK });
  await take(consumer, 1);
  await assert.rejects(take(consumer, 1), { code: "unknown_subscription" });
});

test("closing gives back what was not taken", async () => {
  const consumer = client.consume(WORK);
  await consumer.attached;
  node.deliver(WORK, 1, 2);
  await take(consumer, 1);
  await until(() => node.ops("attach").length === 1);
  consumer.close();
  consumer.close();
  await until(() => node.ops("detach").length === 1);
  assert.deepEqual(node.ops("release").map(({ acks }) => acks), [["2.1-t"]]);
  assert.deepEqual(await take(consumer, 1), []);
});

test("the queue holds two windows and lets the oldest go", async () => {
  const consumer = client.consume(WORK, { window: 2 });
  await consumer.attached;
  node.deliver(WORK, 1, 2);
  node.deliver(WORK, 3, 4, 5);
  await client.publish("default/lines", { text: "behind them" });
  assert.deepEqual((await take(consumer, 4)).map(({ message }) => message.text), ["2", "3", "4", "5"]);
});

test("closing the client waits for acks, then everything is over", async () => {
  const consumer = client.consume(WORK);
  await consumer.attached;
  node.deliver(WORK, 1);
  const [delivery] = await take(consumer, 1);
  const acked = delivery.ack();
  await client.close();
  await acked;
  assert.deepEqual(await take(consumer, 1), []);
  await assert.rejects(delivery.ack(), { code: "client_closed" });
  assert.throws(() => client.consume(WORK), { code: "client_closed" });
});
