/** Positions and the words for them; the rest is in vectors.test.js. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkedSince } from "../dist/positions.js";

test("since is checked before it is sent", () => {
  assert.deepEqual(checkedSince({ epoch: 1, offset: -1, extra: 1 }), { epoch: 1, offset: -1 });
  for (const since of [null, "then", {}, { last: -1 }, { last: 1.5 }, { epoch: 1 }, { epoch: 2 ** 53, offset: 0 }]) {
    assert.throws(() => checkedSince(since), RangeError);
  }
});
