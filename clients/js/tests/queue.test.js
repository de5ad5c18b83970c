/** First in, first out. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Queue } from "../dist/queue.js";

test("a queue keeps its order", () => {
  const queue = new Queue();
  for (let item = 0; item < 5_000; item += 1) queue.push(item);
  for (let item = 0; item < 3_000; item += 1) assert.equal(queue.shift(), item);
  queue.unshift([-2, -1]);
  assert.deepEqual([queue.length, queue.peek(), [...queue].at(-1)], [2_002, -2, 4_999]);
  assert.equal(new Queue().shift(), undefined);
});
