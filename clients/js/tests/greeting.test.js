/** The first frame of a connection, with a token. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Protocol } from "../dist/protocol.js";

test("a hello that cannot be judged for now is sent again, alone", () => {
  const protocol = new Protocol("p", "t");
  protocol.connect(0, "s3cret");
  protocol.follow("p/t", "now", "handle");
  const [hello, ...more] = protocol.outgoing(0).map((text) => JSON.parse(text));
  assert.deepEqual([hello.op, hello.token, more], ["hello", "s3cret", []]);
  assert.deepEqual(protocol.outgoing(0), []);
  const busy = { op: "error", id: hello.id, code: "unavailable", reason: "no keys", retry_ms: 500 };
  assert.deepEqual(protocol.receive([JSON.stringify(busy)], 10).map((event) => event.type), ["complained"]);
  assert.equal(protocol.nextDue(10), 510);
  assert.deepEqual(protocol.outgoing(509), []);
  assert.deepEqual(protocol.outgoing(510).map((text) => JSON.parse(text)), [hello]);
  assert.deepEqual(protocol.receive([JSON.stringify({ op: "ok", id: hello.id })], 520), [{ type: "accepted" }]);
  assert.deepEqual(protocol.outgoing(520).map((text) => JSON.parse(text).op), ["subscribe"]);
});
