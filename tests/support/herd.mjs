/**
 * The JavaScript client's part of a herd (herd.py): followers and writers of one topic in one process.
 *
 * Its argument is a JSON object. On stdin it takes one order a line, and answers each with one JSON line:
 *   seen TEXT    once every follower has seen TEXT
 *   hush         write nothing more; once all is answered, how many messages were written
 *   finish N     once every follower has N messages, what became of everybody
 */

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const { Client } = await import(pathToFileURL(settings.package).href);
const LOOK_MS = 50;

const now = () => (performance.timeOrigin + performance.now()) / 1000;

function member(name) {
  const states = [];
  const onState = (state) => states.push([state.connected, state.server, now(), state.reason]);
  const { token, schedule } = settings;
  return { name, states, client: new Client(settings.servers, { token, name, schedule, onState }) };
}

function follower(name) {
  const one = { ...member(name), texts: [], times: [], gaps: [] };
  one.client.subscribe(settings.topic, {
    since: "earliest",
    onMessage: (message) => {
      one.texts.push(message.text);
      one.times.push(now());
    },
    onGap: (gap) => one.gaps.push(gap.recovery),
  });
  return one;
}

function writer(name) {
  const one = { ...member(name), publishes: [] };
  const timer = setInterval(() => {
    const publish = { sent: now(), answered: null, outcome: null };
    const end = (outcome) => Object.assign(publish, { answered: now(), outcome });
    const call = { text: `${name}-${one.publishes.length}`, timeoutMs: settings.timeout_ms };
    one.publishes.push(publish);
    one.client.publish(settings.topic, call).then(() => end("ok"), (error) => end(error.code));
  }, settings.period_ms);
  return { ...one, stop: () => clearInterval(timer) };
}

const named = (count, kind, make) => Array.from({ length: count }, (_, number) => make(`js${kind}${number}`));
const followers = named(settings.followers, "f", follower);
const writers = named(settings.writers, "w", writer);

async function until(isTrue) {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}

const orders = {
  async seen(text) {
    await until(() => followers.every((one) => one.texts.includes(text)));
    return {};
  },
  async hush() {
    for (const one of writers) one.stop();
    await until(() => writers.every((one) => one.publishes.every((publish) => publish.outcome !== null)));
    return { written: writers.reduce((sum, one) => sum + one.publishes.length, 0) };
  },
  async finish(count) {
    await until(() => followers.every((one) => one.texts.length >= Number(count)));
    const told = ({ client, stop, ...rest }) => rest;
    return { followers: followers.map(told), writers: writers.map(told) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [order, argument] = line.split(" ");
  process.stdout.write(`${JSON.stringify(await orders[order](argument))}\n`);
}
process.exit(0);
