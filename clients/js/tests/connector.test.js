/** How connections begin, end, and give way to others, against scripted nodes. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { createServer } from "node:net";
import { Client, NodeWebSocket } from "../dist/node.js";
import { platform } from "../dist/platform.js";
import { ScriptedNode, until } from "./scripted-node.js";

const LINES = "default/lines";
const QUICK = { baseMs: 20, capMs: 200, leastFirstMs: 10 };
let node;
let second;
let clients;

beforeEach(async () => {
  [node, second] = [new ScriptedNode(), new ScriptedNode()];
  second.topics = node.topics; // two nodes over one log
  second.name = "second";
  clients = [];
  await Promise.all([node.start(), second.start()]);
});

afterEach(async () => {
  for (const client of clients) await client.close(0);
  await Promise.all([node.stop(), second.stop()]);
});

function connect(options = {}, servers = node.url) {
  const client = new Client(servers, { ...options, schedule: { ...QUICK, ...options.schedule } });
  clients.push(client);
  return client;
}

function follow(client) {
  const texts = [];
  const subscription = client.subscribe(LINES, { onMessage: (message) => texts.push(message.text) });
  return { texts, started: subscription.started };
}

test("a drain moves the client before it leaves", async () => {
  const states = [];
  const client = connect({ token: "t", onState: (state) => states.push(state.connected) });
  const { texts, started } = follow(client);
  await started;
  node.append(LINES, { text: "0" });
  node.drain(second);
  await until(() => client.state.server === second.url && node.connections.size === 0);
  node.append(LINES, { text: "1" });
  assert.equal((await client.publish(LINES, { text: "2" })).offset, 2);
  await until(() => texts.length === 3);
  assert.deepEqual(texts, ["0", "1", "2"]);
  assert.deepEqual(states, [true, true]);
});

test("while the new node does not answer, the old one goes on", async () => {
  const client = connect();
  const { texts, started } = follow(client);
  await started;
  let release;
  second.answer = (frame, connection) => {
    if (frame.op !== "subscribe" || release) return undefined;
    release = () => connection.send({ op: "error", id: frame.id, code: "unavailable", reason: "wait", retry_ms: 1 });
    return { op: "pong" };
  };
  node.drain(second);
  await until(() => release);
  for (const text of ["0", "1", "2"]) node.append(LINES, { text });
  await until(() => texts.length === 3);
  release();
  await until(() => node.connections.size === 0);
  node.append(LINES, { text: "3" });
  await until(() => texts.length === 4);
  assert.deepEqual(texts, ["0", "1", "2", "3"]);
});

test("publishes in flight while the client moves are stored once", async () => {
  const client = connect();
  await client.connected();
  node.mute = true;
  const results = Array.from({ length: 50 }, (_, number) => client.publish(LINES, { text: String(number) }));
  await until(() => node.ops("publish").length === 50);
  node.drain(second);
  assert.deepEqual((await Promise.all(results)).map(({ offset }) => offset), [...Array(50).keys()]);
  assert.equal(node.topic(LINES).entries.length, 50);
});

test("a node that greets nobody is not moved to", async () => {
  second.silent = true;
  const client = connect({ schedule: { connectTimeoutMs: 50 } });
  await client.connected();
  node.drain(second);
  await until(() => client.state.connected && second.connections.size > 0);
  await until(() => second.connections.size === 0);
  assert.equal(client.state.server, node.url);
  second.silent = false;
  await until(() => client.state.server === second.url);
});

test("a client that finds no other node stays to the end, and comes back", async () => {
  const client = connect();
  await client.connected();
  node.drain();
  await until(() => node.refusals > 0);
  assert.ok(client.state.connected);
  node.refusal = undefined;
  node.close(1012);
  await until(() => node.ops("hello").length === 2 && client.state.connected);
});

test("closing while the client moves leaves nothing open", async () => {
  second.silent = true;
  const client = connect();
  await client.connected();
  node.drain(second);
  await until(() => second.connections.size > 0);
  await client.close();
  await until(() => node.connections.size + second.connections.size === 0);
});

test("a server that hangs costs a moment", async () => {
  const taken = [];
  const hanging = createServer((socket) => taken.push(socket));
  await new Promise((resolve) => hanging.listen(0, "127.0.0.1", resolve));
  const servers = [{ url: `http://127.0.0.1:${hanging.address().port}`, weight: 1 }, { url: node.url, weight: 0 }];
  const client = connect({ schedule: { secondDialMs: 10, connectTimeoutMs: 60_000 } }, servers);
  assert.equal((await client.connected()).server, node.url);
  for (const socket of taken) socket.destroy();
  await new Promise((resolve) => hanging.close(resolve));
});

test("a silent node is dropped, and another taken", async () => {
  const client = connect({ schedule: { halfOpenMs: 200 } }, [node.url, { url: second.url, weight: 0 }]);
  await client.connected();
  node.mute = true;
  node.silent = true;
  await until(() => client.state.server === second.url);
  assert.ok(node.ops("ping").length > 0);
});

test("a time to come back is kept", async () => {
  node.refusal = { status: 503, body: { error: { retry_ms: 60_000 } } };
  const client = connect({ WebSocket: NodeWebSocket });
  await until(() => client.state.reason === "HTTP 503");
  node.refusal = undefined;
  await assert.rejects(client.connected(100), { code: "connection_failed" });
  assert.equal(node.refusals, 1);
});

test("a network that comes back is tried at once", async () => {
  const { onNetworkUp } = platform;
  let up;
  platform.onNetworkUp = (listener) => ((up = listener), () => (up = undefined));
  const client = connect({ schedule: { baseMs: 60_000, capMs: 60_000, leastFirstMs: 60_000 } });
  platform.onNetworkUp = onNetworkUp;
  await client.connected();
  node.cut();
  await until(() => !client.state.connected);
  up();
  await client.connected();
  up();
  await until(() => node.ops("ping").length > 0);
  await client.close();
  assert.equal(up, undefined);
});

test("a node tells of others", async () => {
  const client = connect();
  await client.connected();
  node.say({ op: "servers", servers: [{ url: second.url, weight: 1 }], spread_ms: 0 });
  await client.publish(LINES, { text: "x" });
  node.refusal = { status: 503, body: {} };
  node.cut();
  await until(() => client.state.server === second.url);
});
