/** The entry for Node: the same client, with a WebSocket of its own where Node (before 22) has none. */

import { randomBytes } from "node:crypto";
import { NodeWebSocket } from "./node-websocket.js";
import { platform } from "./platform.js";

platform.WebSocket ??= NodeWebSocket;
platform.randomBytes = randomBytes;

export * from "./index.js";
export { NodeWebSocket } from "./node-websocket.js";
