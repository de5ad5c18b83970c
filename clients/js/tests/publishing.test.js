/** What a client does with publishes that have no room, no answer, or a refusal, and the word for each end. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { errorFor, errorOf, ClientError } from "../dist/errors.js";
import { Client, outcomeOf } from "../dist/node.js";
import { ScriptedNode, until } from "./scripted-node.js";

const LINES = "default/lines";
let node;
let clients;

beforeEach(async () => {
  node = new ScriptedNode();
  clients = [];
  await node.start();
});

afterEach(async () => {
  for (const client of clients) await client.close(0);
  await node.stop();
});

function connect(queue, servers = node.url) {
  const client = new Client(servers, { queue, schedule: { baseMs: 50, leastFirstMs: 10 } });
  clients.push(client);
  return client;
}

const outcome = (promise) => promise.then(outcomeOf, outcomeOf);
const texts = () => node.topic(LINES).entries.map((entry) => entry.text);

async function silenced(queue) {
  const client = connect(queue);
  await client.connected();
  node.mute = true;
  return client;
}

function speak() {
  node.mute = false;
  node.cut();
}

test("a queue of one's own size refuses at once", async () => {
  const client = await silenced({ messages: 2 });
  const waiting = ["0", "1"].map((text) => client.publish(LINES, { text }));
  await assert.rejects(client.publish(LINES, { text: "2" }), { code: "queue_full", maybeStored: false });
  speak();
  await Promise.all(waiting);
});

test("a queue is bounded in bytes too, and who waits for room keeps the order", async () => {
  const client = await silenced({ bytes: 1_000, whenFull: "block" });
  const sent = ["0", "1", "2", "3"].map((text) => client.publish(LINES, { text: text.padEnd(700, ".") }));
  await until(() => node.ops("publish").length === 1);
  speak();
  await Promise.all(sent);
  assert.deepEqual(texts().map((text) => text[0]), ["0", "1", "2", "3"]);
});

test("waiting for room ends in time, and the message was not sent", async () => {
  const client = await silenced({ messages: 1, whenFull: "block" });
  const first = client.publish(LINES, { text: "0" });
  assert.equal(await outcome(client.publish(LINES, { text: "1", timeoutMs: 50 })), "FAILED");
  speak();
  await first;
  assert.deepEqual(texts(), ["0"]);
});

test("newer publishes take the place of those never sent", async () => {
  const client = connect({ messages: 2, whenFull: "drop" }, "http://127.0.0.1:9");
  const ends = ["0", "1", "2", "3"].map((text) => client.publish(LINES, { text }).catch((error) => error));
  assert.deepEqual([(await ends[0]).code, (await ends[1]).code], ["dropped", "dropped"]);
  await client.close(0);
  assert.deepEqual((await Promise.all(ends)).map(outcomeOf), ["FAILED", "FAILED", "FAILED", "FAILED"]);
});

test("what was sent is not dropped", async () => {
  const client = await silenced({ messages: 1, whenFull: "drop" });
  const first = outcome(client.publish(LINES, { text: "0" }));
  await until(() => node.ops("publish").length === 1);
  await assert.rejects(client.publish(LINES, { text: "1" }), { code: "queue_full" });
  await client.close(0);
  assert.equal(await first, "TIMEOUT");
});

test("a publish of unknown outcome is retried, and stored once", async () => {
  node.answer = (frame) => {
    if (frame.op !== "publish") return undefined;
    const { identities } = node.topic(frame.topic);
    identities.set(`${frame.publisher}#${frame.seq}`, node.append(frame.topic, { text: frame.text }));
    return { op: "pong" };
  };
  const client = connect();
  const error = await client.publish(LINES, { text: "x", timeoutMs: 50 }).catch((reason) => reason);
  assert.equal(outcomeOf(error), "TIMEOUT");
  node.answer = () => undefined;
  assert.deepEqual(await client.retry(error), { epoch: 1000, offset: 0, duplicate: true });
  assert.deepEqual(texts(), ["x"]);
  await assert.rejects(client.retry(errorOf("forbidden", "no")), RangeError);
});

test("each end has its word", () => {
  assert.equal(outcomeOf({ epoch: 1, offset: 2, duplicate: true }), "OK");
  const words = { forbidden: "DENIED", unauthorized: "DENIED", no_subscriber: "NO_SUBSCRIBER", too_large: "FAILED", unknown_outcome: "TIMEOUT", stale_sequence: "TIMEOUT" };
  for (const [code, word] of Object.entries(words)) assert.equal(outcomeOf(errorOf(code, "")), word, code);
  assert.equal(outcomeOf(new ClientError("client_closed", "")), "FAILED");
  assert.equal(outcomeOf(errorFor(new ClientError("client_closed", ""), true, "entry")), "TIMEOUT");
  assert.equal(outcomeOf(errorFor(errorOf("forbidden", ""), true, undefined)), "TIMEOUT");
});
