/** Against a real node, where HEADRACE_URL (and HEADRACE_TOKEN) name one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../dist/node.js";

const url = process.env.HEADRACE_URL;
const skip = url ? false : "HEADRACE_URL is not set";

test("a real node stores and delivers in order, from now and from the start", { skip, timeout: 60_000 }, async () => {
  const topic = `default/js-${Date.now()}-${Math.floor(Math.random() * 1e9)}`;
  const client = new Client(url, { token: process.env.HEADRACE_TOKEN });
  try {
    await client.publish(topic, { text: "0" });
    const live = [];
    await client.subscribe(topic, { onMessage: (message) => live.push(message.text) }).started;
    const results = await Promise.all(Array.from({ length: 500 }, (_, number) => client.publish(topic, { text: `${number + 1}` })));
    assert.deepEqual(results.map((result) => result.offset), [...Array(500).keys()].map((offset) => offset + 1));
    const again = new Client(url, { token: process.env.HEADRACE_TOKEN });
    const texts = [];
    for await (const message of again.subscribe(topic, { since: "earliest" })) if (texts.push(message.text) === 501) break;
    await again.close();
    assert.deepEqual(texts, [...Array(501).keys()].map(String));
    assert.deepEqual(live, texts.slice(1));
  } finally {
    await client.close();
  }
});

test("a real node leases a shared subscription's messages", { skip, timeout: 60_000 }, async () => {
  const name = `js-${Date.now()}-${Math.floor(Math.random() * 1e9)}`;
  const headers = { "x-api-key": process.env.HEADRACE_TOKEN ?? "" };
  const put = (path, body) => fetch(`${url}/v1/projects/default/${path}`, { method: "PUT", headers, body: JSON.stringify(body) });
  await put(`topics/${name}`, {});
  const made = await put(`subscriptions/${name}`, { topic: `projects/default/topics/${name}`, kind: "shared" });
  assert.equal(made.status, 200);
  const client = new Client(url, { token: process.env.HEADRACE_TOKEN });
  try {
    const consumer = client.consume(`default/${name}`, { window: 2 });
    await consumer.attached;
    await Promise.all(["0", "1", "2"].map((text) => client.publish(`default/${name}`, { text })));
    const seen = [];
    for await (const delivery of consumer) {
      seen.push([delivery.message.text, delivery.attempt]);
      if (delivery.attempt === 1 && delivery.message.text === "1") await delivery.nack(0);
      else await delivery.ack();
      if (seen.length === 4) break;
    }
    assert.deepEqual(seen.sort(), [["0", 1], ["1", 1], ["1", 2], ["2", 1]]);
    await assert.rejects(client.consume("default/none").attached, { code: "unknown_subscription" });
  } finally {
    await client.close();
  }
});
