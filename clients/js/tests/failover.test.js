/** Which server next, and when. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkedServer, Failover, realtimeUrl } from "../dist/failover.js";

test("every server is tried before any is tried again, and the failed one comes last", () => {
  const failover = new Failover(["http://a", "http://b/", "http://c"], () => 0.5);
  const round = [failover.next(0), failover.next(0), failover.next(0)].map((attempt) => attempt.server);
  assert.deepEqual([...round].sort(), ["http://a", "http://b", "http://c"]);
  failover.ended("http://a", 10_000, 1006, 0);
  const next = [failover.next(0), failover.next(0), failover.next(0)].map((attempt) => attempt.server);
  assert.equal(next[2], "http://a");
});

test("the first try after a break is at once, later ones wait longer and longer up to five seconds", () => {
  const failover = new Failover(["http://a"], () => 1);
  failover.ended("http://a", 10_000, 1006, 0);
  const delays = [];
  for (let attempt = 0; attempt < 9; attempt += 1) {
    delays.push(failover.next(0).at);
    failover.ended("http://a", 0, 1006, 0);
  }
  assert.deepEqual(delays, [0, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

test("a restart spreads its clients over the time that the node asked for", () => {
  const failover = new Failover(["http://a"], () => 0.5);
  failover.ended("http://a", 10_000, 1012, 8_000);
  assert.equal(failover.next(0).at, 4_000);
  failover.ended("http://a", 10_000, 1006, 8_000);
  assert.equal(failover.next(0).at, 500);
});

test("a connection that does not hold counts as a failure", () => {
  const failover = new Failover(["http://a"], () => 1);
  failover.ended("http://a", 100, 4000, 0);
  assert.equal(failover.next(0).at, 200);
});

test("servers of a welcome are taken over, unencrypted ones never from an encrypted node", () => {
  const failover = new Failover(["https://a"], () => 0);
  failover.learn(["http://b", "https://c/", "nonsense", "https://user:pw@d"], "https://a");
  assert.deepEqual(failover.servers, ["https://a", "https://c"]);
  failover.learn([], "https://a");
  assert.equal(failover.servers.length, 2);
});

test("a server is a base URL without a secret", () => {
  assert.equal(realtimeUrl(checkedServer("https://a:1/x/")), "wss://a:1/x/v1/realtime");
  for (const url of ["", "ftp://a", "http://u:p@a", "http://a?token=x", "http://a#x"]) assert.throws(() => checkedServer(url), RangeError);
});
