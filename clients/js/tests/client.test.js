/** The client against a scripted node. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Client } from "../dist/node.js";
import { ScriptedNode, until } from "./scripted-node.js";

const LINES = "default/lines";
/** Nobody waits for seconds here. */
const QUICK = { baseMs: 100, capMs: 1_000, leastFirstMs: 10 };
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

function connect(options, servers = node.url) {
  const client = new Client(servers, { schedule: QUICK, ...options });
  clients.push(client);
  return client;
}

async function take(subscription, count) {
  const texts = [];
  for await (const message of subscription) if (texts.push(message.text) === count) break;
  return texts;
}

test("what is published arrives with its position", async () => {
  const client = connect();
  const subscription = client.subscribe(LINES);
  await subscription.started;
  const published = await client.publish(LINES, { text: "hello", attributes: { a: "b" } });
  for await (const message of subscription) {
    assert.equal(message.text, "hello");
    assert.deepEqual(message.attributes, { a: "b" });
    assert.deepEqual(message.position, { epoch: 1000, offset: 0 });
    break;
  }
  assert.deepEqual(published, { epoch: 1000, offset: 0, duplicate: false });
  assert.deepEqual(subscription.position, { epoch: 1000, offset: 0 });
});

test("each payload keeps its kind", async () => {
  const client = connect();
  const seen = [];
  await client.subscribe(LINES, { onMessage: (message) => seen.push(message) }).started;
  await client.publish(LINES, { json: { a: [1, null, "ü"] } });
  await client.publish(LINES, { json: null });
  await client.publish(LINES, { data: Uint8Array.of(0, 255) });
  assert.deepEqual(
    seen.map((message) => [message.kind, message.value]),
    [["json", { a: [1, null, "ü"] }], ["json", null], ["binary", Uint8Array.of(0, 255)]],
  );
  assert.equal(seen[0].text, '{"a":[1,null,"ü"]}');
});

test("a subscription outlives its connections without loss or repeat", async () => {
  const subscription = connect().subscribe(LINES);
  await subscription.started;
  node.append(LINES, { text: "0" });
  assert.deepEqual(await take(subscription, 1), ["0"]);
  node.cut();
  await until(() => node.connections.size === 0 || node.ops("subscribe").length === 2);
  node.append(LINES, { text: "1" });
  await until(() => node.topic(LINES).followers.size === 1);
  node.append(LINES, { text: "2" });
  assert.deepEqual(await take(subscription, 2), ["1", "2"]);
  assert.deepEqual(node.ops("subscribe").at(-1).since, { epoch: 1000, offset: 0 });
});

test("unanswered publishes are sent again with the same identity, and stored once", async () => {
  const client = connect();
  await client.connected();
  node.mute = true;
  const results = Array.from({ length: 50 }, (_, number) => client.publish(LINES, { text: String(number) }));
  await until(() => node.ops("publish").length === 50);
  node.mute = false;
  node.cut();
  assert.deepEqual((await Promise.all(results)).map((result) => result.offset), [...Array(50).keys()]);
  const sent = node.ops("publish");
  assert.deepEqual(sent.slice(0, 50), sent.slice(50));
});

test("a busy log is tried again, a refusal is final", async () => {
  const codes = ["unavailable", "forbidden"];
  node.answer = (frame) =>
    frame.op === "publish" ? { op: "error", id: frame.id, code: codes.shift(), reason: "no", ...(codes.length ? { retry_ms: 1 } : {}) } : undefined;
  await assert.rejects(connect().publish(LINES, { text: "x" }), { code: "forbidden", name: "CallerError" });
});

test("a publish that nobody answers times out", async () => {
  node.mute = true;
  await assert.rejects(connect().publish(LINES, { text: "x", timeoutMs: 50 }), { code: "publish_timeout" });
});

test("the queue of publishes is bounded", async () => {
  const client = connect();
  const first = Array.from({ length: 10_000 }, (_, number) => client.publish(LINES, { text: String(number) }));
  await assert.rejects(client.publish(LINES, { text: "x" }), { code: "queue_full" });
  await client.room();
  await Promise.all([...first, client.publish(LINES, { text: "more" })]);
  assert.equal(node.topic(LINES).entries.length, 10_001);
});

test("a slow iterator puts its topic aside and misses nothing", async () => {
  const client = connect();
  const subscription = client.subscribe(LINES);
  await subscription.started;
  for (let number = 0; number < 5_000; number += 1) node.append(LINES, { text: String(number) });
  await until(() => node.ops("unsubscribe").length > 0);
  await client.publish("default/other", { text: "not held up" });
  assert.deepEqual(await take(subscription, 5_000), [...Array(5_000).keys()].map(String));
});

test("gaps are told in order", async () => {
  const seen = [];
  const subscription = connect().subscribe(LINES, { onGap: (gap) => seen.push(gap) });
  await subscription.started;
  node.say({ op: "gap", topic: LINES, recovery: "trimmed", missing: [{ epoch: 1000, first: 0, last: 4 }] });
  node.say({ op: "message", topic: LINES, epoch: 1000, offset: 5, time: 1, text: "5" });
  assert.deepEqual(await take(subscription, 1), ["5"]);
  assert.deepEqual(seen, [{ topic: LINES, recovery: "trimmed", missing: [{ epoch: 1000, first: 0, last: 4 }] }]);
});

test("a deleted topic ends the subscription with its error", async () => {
  const subscription = connect().subscribe(LINES);
  await subscription.started;
  node.append(LINES, { text: "last" });
  node.say({ op: "error", code: "unknown_topic", reason: "gone", topic: LINES });
  assert.deepEqual(await take(subscription, 1), ["last"]);
  await assert.rejects(take(subscription, 1), { code: "unknown_topic" });
});

test("a refused subscription rejects and ends", async () => {
  node.answer = (frame) => (frame.op === "subscribe" ? { op: "error", id: frame.id, code: "forbidden", reason: "no" } : undefined);
  const ends = [];
  const subscription = connect().subscribe(LINES, { onMessage: () => undefined, onEnd: (error) => ends.push(error.code) });
  await assert.rejects(subscription.started, { code: "forbidden" });
  assert.deepEqual(ends, ["forbidden"]);
});

test("the token is sent in the first frame, and nothing else before it is accepted", async () => {
  const held = [];
  node.answer = (frame, connection) => {
    if (frame.op === "hello") held.push(() => connection.send({ op: "ok", id: frame.id }));
    return frame.op === "hello" ? { op: "pong" } : undefined;
  };
  const client = connect({ token: async () => "s3cret" });
  const published = client.publish(LINES, { text: "x" });
  await until(() => held.length === 1);
  await client.connected();
  assert.deepEqual(node.received.map((frame) => frame.op), ["hello"]);
  assert.equal(node.received[0].token, "s3cret");
  held[0]();
  await published;
});

test("a refused token ends the client, unless a function makes a fresh one", async () => {
  const plain = connect({ token: "wrong" });
  await plain.connected();
  node.close(4500);
  await assert.rejects(plain.publish(LINES, { text: "x" }), { code: "unauthorized" });
  let made = 0;
  const fresh = connect({ token: () => `token ${(made += 1)}` });
  await fresh.connected();
  node.close(4501);
  await fresh.publish(LINES, { text: "x" });
  assert.equal(made, 2);
});

test("a final close code ends the client", async () => {
  const client = connect();
  const subscription = client.subscribe(LINES);
  await subscription.started;
  node.close(4503);
  await assert.rejects(take(subscription, 1), { code: "refused" });
});

test("the next server takes over", async () => {
  const second = new ScriptedNode();
  await second.start();
  const client = connect({}, [node.url, second.url]);
  await client.connected();
  const [here, there] = node.connections.size > 0 ? [node, second] : [second, node];
  await here.stop();
  await client.publish(LINES, { text: "x" });
  assert.equal(there.topic(LINES).entries.length, 1);
  await client.close();
  await second.stop().catch(() => undefined);
  if (here === node) node.stop = async () => undefined;
});

test("a frame that makes no sense costs the connection, not the client", async () => {
  const client = connect();
  await client.connected();
  node.say({ op: "gap", topic: 7 });
  await until(() => node.ops("hello").length === 2);
  await client.publish(LINES, { text: "x" });
});

test("closing waits for answers, then everything fails", async () => {
  const client = connect();
  const answered = client.publish(LINES, { text: "x" });
  await client.close();
  assert.equal((await answered).offset, 0);
  await assert.rejects(client.publish(LINES, { text: "x" }), { code: "client_closed" });
  assert.throws(() => client.subscribe(LINES), { code: "client_closed" });
});

test("nothing listening is said in time", async () => {
  await assert.rejects(connect({}, "http://127.0.0.1:9").connected(100), { code: "connection_failed" });
});

test("a large frame crosses whole", async () => {
  const client = connect();
  const seen = [];
  await client.subscribe(LINES, { onMessage: (message) => seen.push(message.text.length) }).started;
  await client.publish(LINES, { text: "x".repeat(1_000_000) });
  assert.deepEqual(seen, [1_000_000]);
  await assert.rejects(client.publish(LINES, { text: "x".repeat(2_300_000) }), { code: "too_large" });
});

for (const kind of ["handlers", "iteration"]) {
  test(`a snapshot is asked for, and told with each placement, in order (${kind})`, async () => {
    node.snapshot = { epoch: 1000, offset: 0, time: 1, text: "newest" };
    const client = connect();
    const position = await client.publish(LINES, { text: "newest", retained: true });
    const told = [];
    const onStarted = ({ snapshot }) => told.push(`placed after ${snapshot.text}`);
    const onMessage = kind === "handlers" ? (message) => told.push(message.text) : undefined;
    const subscription = client.subscribe(LINES, { since: position, snapshot: true, onStarted, onMessage });
    assert.equal((await subscription.started).snapshot.text, "newest");
    node.cut();
    await until(() => node.ops("subscribe").length === 2);
    await client.publish(LINES, { text: "next" });
    if (kind === "iteration") told.push(...(await take(subscription, 1)));
    assert.deepEqual(told, ["placed after newest", "placed after newest", "next"]);
    assert.deepEqual([node.ops("publish")[0].retained, node.ops("publish")[1].retained], [true, undefined]);
    assert.ok(node.ops("subscribe").every((ask) => ask.snapshot === true));
  });
}
