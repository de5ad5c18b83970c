/** The policy against protocol/failover-vectors.json, which the Python client's tests read too. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { checkedServer, Failover, fits, realtimeUrl, SCHEDULE } from "../dist/failover.js";

const vectors = JSON.parse(readFileSync(new URL("../../../protocol/failover-vectors.json", import.meta.url), "utf8"));

function scheduleOf(given = {}) {
  const named = { base: "baseMs", cap: "capMs", least_first: "leastFirstMs", half_open: "halfOpenMs", connect_timeout: "connectTimeoutMs" };
  return { ...SCHEDULE, ...Object.fromEntries(Object.entries(given).map(([name, value]) => [named[name], value])) };
}

function take(failover, step) {
  const { do: verb, now, server, besides } = step;
  if (verb === "next") {
    const attempt = failover.next(now);
    assert.equal(attempt?.server, server ?? undefined);
    if (attempt) assert.ok(Math.abs(attempt.at - step.at) < 1e-6, `${attempt.at} is not ${step.at}`);
  } else if (verb === "another") assert.equal(failover.another(now, besides), server ?? undefined);
  else if (verb === "failed") failover.failed(server, now, step.retry_after);
  else if (verb === "ended") failover.ended(server, now, step.lasted, step.spread ?? undefined);
  else if (verb === "learn") failover.learn(step.servers, server);
  else if (verb === "drained") failover.drained(server, step.spread);
  else if (verb === "refused") failover.refused(server);
  else if (verb === "network_up") failover.networkUp();
  else assert.fail(verb);
}

for (const { name, servers, draws, schedule, steps, known } of vectors.scenarios) {
  test(`scenario: ${name}`, () => {
    const left = [...draws];
    const failover = new Failover(servers, () => left.shift(), scheduleOf(schedule));
    for (const step of steps) take(failover, step);
    assert.deepEqual(failover.servers, known);
    assert.deepEqual(left, []);
  });
}

test("a log must outlast an absence twice", () => {
  for (const { schedule, retention, fits: expected } of vectors.fits) assert.equal(fits(scheduleOf(schedule), retention), expected);
});

test("a server is a base URL without a secret", () => {
  for (const url of vectors.urls) assert.equal(checkedServer(url), url.replace(/\/$/, ""));
  for (const url of vectors.invalid_urls) assert.throws(() => checkedServer(url), RangeError, url);
  assert.equal(realtimeUrl(checkedServer("https://a:1/x/")), "wss://a:1/x/v1/realtime");
});

test("what is no list of servers is refused", () => {
  for (const weight of [-1, NaN, Infinity]) assert.throws(() => new Failover([{ url: "http://a", weight }], Math.random), RangeError);
  assert.throws(() => new Failover([], Math.random), RangeError);
});

test("a list is taken in part only", () => {
  const failover = new Failover(["http://a"], Math.random);
  failover.learn(Array.from({ length: 1000 }, (_, index) => ({ url: `http://${index}.example`, weight: 1 })), "http://a");
  assert.equal(failover.servers.length, 101);
});
