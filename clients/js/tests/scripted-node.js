/** A scripted node: speaks the JSON dialect from memory over node:http's upgrade, and misbehaves on request. */

import { createHash } from "node:crypto";
import { createServer } from "node:http";

const EPOCH = 1000;

export class ScriptedNode {
  topics = new Map();
  received = [];
  tokens = [];
  connections = new Set();
  /** Acks that are settled in vain, with their code. */
  refused = new Map();
  answer = () => undefined;
  mute = false;
  port = 0;
  pingMs = 25_000;
  name = "scripted";
  servers = [];
  /** An HTTP status and body, for those who come now. */
  refusal = undefined;
  refusals = 0;
  /** What `subscribed` says of the topic's snapshot. */
  snapshot = undefined;
  /** Says no welcome and answers nothing. */
  silent = false;

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    this.server = createServer((request, response) => response.writeHead(404).end());
    this.server.on("upgrade", (request, socket) => this.#accept(request, socket));
    await new Promise((resolve) => this.server.listen(this.port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
  }

  async stop() {
    for (const connection of this.connections) connection.socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  topic(name) {
    if (!this.topics.has(name)) this.topics.set(name, { entries: [], followers: new Set(), identities: new Map() });
    return this.topics.get(name);
  }

  append(name, payload) {
    const topic = this.topic(name);
    const offset = topic.entries.push(payload) - 1;
    for (const connection of topic.followers) connection.send(this.#message(name, offset));
    return offset;
  }

  say(frame) {
    for (const connection of this.connections) connection.send(frame);
  }

  /** Ask every client to go elsewhere, and turn new ones away. */
  drain(...others) {
    this.refusal = { status: 503, body: {} };
    const servers = others.map(({ url }) => ({ url, weight: 1 }));
    this.say({ op: "drain", deadline_ms: 10_000, spread_ms: 0, servers });
  }

  ops(op) {
    return this.received.filter((frame) => frame.op === op);
  }

  cut() {
    for (const connection of this.connections) connection.socket.destroy();
  }

  close(code) {
    for (const connection of this.connections) connection.close(code);
  }

  #refuse(socket, { status, body }) {
    const text = JSON.stringify(body);
    this.refusals += 1;
    socket.end(`HTTP/1.1 ${status} No\r\nConnection: close\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
  }

  #accept(request, socket) {
    socket.on("error", () => undefined);
    if (this.refusal) return this.#refuse(socket, this.refusal);
    const accept = createHash("sha1")
      .update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
      .digest("base64");
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: headrace.v1+json\r\n\r\n`,
    );
    const connection = new Connection(socket, (frame) => this.#receive(connection, frame));
    this.connections.add(connection);
    socket.on("close", () => {
      this.connections.delete(connection);
      for (const topic of this.topics.values()) topic.followers.delete(connection);
    });
    const limits = { message_bytes: 1_500_000, frame_bytes: 2_200_000, subscriptions: 1000, in_flight: 1024 };
    if (this.silent) return;
    connection.send({ op: "welcome", node: this.name, servers: this.servers, ping_ms: this.pingMs, spread_ms: 0, limits });
  }

  #receive(connection, frame) {
    this.received.push(frame);
    if (this.mute) return;
    const scripted = this.answer(frame, connection);
    if (scripted) return connection.send(scripted);
    if (frame.op === "publish") this.#publish(connection, frame);
    else if (frame.op === "subscribe") this.#subscribe(connection, frame);
    else if (frame.op === "attach") connection.send(this.#attached(frame));
    else if (["ack", "nack", "release", "extend"].includes(frame.op)) connection.send(this.#settled(frame));
    else if (frame.op === "ping") connection.send({ op: "pong" });
    else {
      if (frame.op === "unsubscribe") this.topic(frame.topic).followers.delete(connection);
      connection.send({ op: "ok", id: frame.id });
    }
  }

  #attached({ id, subscription, window }) {
    return { op: "attached", id, subscription, topic: "default/lines", window, ack_deadline_s: 10 };
  }

  #settled({ id, subscription, acks }) {
    const refused = acks.filter((ack) => this.refused.has(ack)).map((ack) => ({ ack, code: this.refused.get(ack) }));
    return { op: "settled", id, subscription, refused };
  }

  /** Send deliveries to every connection. */
  deliver(subscription, ...offsets) {
    const entry = (offset) => ({ ack: `${offset}.1-t`, attempt: 1, epoch: EPOCH, offset, time: offset, text: `${offset}` });
    this.say({ op: "delivery", subscription, topic: "default/lines", deliveries: offsets.map(entry) });
  }

  #publish(connection, { id, topic, publisher, seq, key, json, text, base64, attributes }) {
    const identity = key ?? `${publisher}#${seq}`;
    const { identities } = this.topic(topic);
    const known = identities.get(identity);
    const offset = known ?? this.append(topic, { json, text, base64, attributes });
    identities.set(identity, offset);
    connection.send({ op: "published", id, epoch: EPOCH, offset, time: 1, duplicate: known === undefined ? undefined : true });
  }

  #subscribe(connection, { id, topic: name, since }) {
    const topic = this.topic(name);
    const end = topic.entries.length - 1;
    const after = since === "now" ? end : since.offset ?? (since.last === undefined ? -1 : Math.max(end - since.last, -1));
    const recovery = since.offset === undefined ? "none" : "complete";
    const place = { epoch: EPOCH, offset: after };
    connection.send({ op: "subscribed", id, topic: name, epoch: EPOCH, offset: end, after: place, recovery, missing: [], snapshot: this.snapshot });
    for (let offset = after + 1; offset <= end; offset += 1) connection.send(this.#message(name, offset));
    topic.followers.add(connection);
  }

  #message(topic, offset) {
    return { op: "message", topic, epoch: EPOCH, offset, time: offset, ...this.topic(topic).entries[offset] };
  }
}

class Connection {
  #buffer = Buffer.alloc(0);

  constructor(socket, onFrame) {
    this.socket = socket;
    socket.on("data", (data) => {
      this.#buffer = Buffer.concat([this.#buffer, data]);
      for (let frame = this.#next(); frame !== undefined; frame = this.#next()) if (frame) onFrame(JSON.parse(frame));
    });
  }

  send(frame) {
    this.#write(0x81, Buffer.from(JSON.stringify(frame)));
  }

  close(code) {
    this.#write(0x88, Buffer.from([code >> 8, code & 0xff]));
    this.socket.end();
  }

  #write(first, payload) {
    const size = payload.length;
    const header = size < 126 ? Buffer.from([first, size]) : Buffer.from([first, 127, 0, 0, 0, 0, 0, 0, 0, 0]);
    if (size >= 126) header.writeUInt32BE(size, 6);
    this.socket.write(Buffer.concat([header, payload]));
  }

  /** The next text, "" for a control frame, undefined when there is none. */
  #next() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return undefined;
    const short = buffer[1] & 0x7f;
    const start = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (buffer.length < start + 4) return undefined;
    const size = short === 126 ? buffer.readUInt16BE(2) : short === 127 ? buffer.readUInt32BE(6) : short;
    if (buffer.length < start + 4 + size) return undefined;
    const mask = buffer.subarray(start, start + 4);
    const body = Buffer.from(buffer.subarray(start + 4, start + 4 + size)).map((byte, index) => byte ^ mask[index & 3]);
    this.#buffer = buffer.subarray(start + 4 + size);
    if ((buffer[0] & 0x0f) === 8) this.socket.end();
    return (buffer[0] & 0x0f) === 1 ? body.toString() : "";
  }
}

/** Poll until `condition` holds, or fail after ten seconds. */
export async function until(condition) {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never true: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
