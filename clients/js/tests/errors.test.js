/** What is sent again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { HeadraceError, isTemporary } from "../dist/errors.js";

test("temporary is what the server gave a time for, and what may have been stored", () => {
  assert.ok(isTemporary(new HeadraceError("anything", "", 1)));
  assert.ok(isTemporary(new HeadraceError("unknown_outcome", "")));
  assert.ok(!isTemporary(new HeadraceError("out_of_memory", "")));
});
