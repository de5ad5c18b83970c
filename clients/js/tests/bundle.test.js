/** The single file for pages: the same client, with nothing of Node in it. */

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as bundle from "../dist/headrace.js";
import * as modules from "../dist/index.js";
import { NodeWebSocket } from "../dist/node-websocket.js";
import { ScriptedNode } from "./scripted-node.js";

// Every page has it, and Node from 19 on.
globalThis.crypto ??= webcrypto;

test("the bundle exports what the entry exports, and imports nothing", () => {
  assert.deepEqual(Object.keys(bundle).sort(), Object.keys(modules).sort());
  assert.doesNotMatch(readFileSync(new URL("../dist/headrace.js", import.meta.url), "utf8"), /^import |from "node:/m);
});

test("the bundle's client works with any WebSocket class", async () => {
  const node = new ScriptedNode();
  await node.start();
  const client = new bundle.Client(node.url, { WebSocket: NodeWebSocket });
  assert.equal((await client.publish("default/lines", { text: "x" })).offset, 0);
  await client.close();
  await node.stop();
});

test("without any WebSocket the constructor says what is missing", { skip: "WebSocket" in globalThis }, () => {
  assert.throws(() => new bundle.Client("http://127.0.0.1:9"), /WebSocket option/);
});
