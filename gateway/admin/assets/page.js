// The live tail and the publish box. Speaks the realtime protocol by hand: what it shows is what is on the wire.
// Strings that came from a broker are shown by textContent alone.

const MAX_ROWS = 500;
const BACK_OFF_MS = [250, 500, 1000, 2000, 4000];
const element = (id) => document.getElementById(id);

const state = {
  socket: null,
  topic: null, // what is followed, or to be followed again
  resume: "now", // what the next subscribe presents as `since` (protocol/realtime.md 4)
  attempts: 0,
  timer: 0,
  sequence: 0,
  publisher: crypto.getRandomValues(new Uint32Array(4)).join("-"),
  unanswered: new Map(), // id -> publish frame, sent again after a reconnect: the same seq is stored once
  ready: false,
};

function show(text, kind) {
  element("status").textContent = text;
  element("status").dataset.state = kind;
}

// --- since: the words of the command line ---

function readSince(word) {
  const text = word.trim() || "now";
  if (text === "now" || text === "earliest") return text;
  const [, name, number] = /^(last|time):(\d+)$/.exec(text) ?? [];
  if (name === "last") return { last: Number(number) };
  if (name === "time") return { time: Number(number) };
  const [, epoch, offset] = /^(\d+)-(-1|\d+)$/.exec(text) ?? [];
  if (epoch) return { epoch: Number(epoch), offset: Number(offset) };
  throw new Error("Since is now, earliest, last:N, time:MS or EPOCH-OFFSET.");
}

// --- the connection ---

function connect() {
  clearTimeout(state.timer);
  show("connecting", "waiting");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/v1/realtime`, ["headrace.v1+json"]);
  state.socket = socket;
  socket.onopen = () => {
    state.ready = true;
    const token = element("token").value.trim();
    if (token) send({ op: "hello", token, client: "headrace page" });
    if (state.topic) subscribe();
    for (const frame of state.unanswered.values()) send(frame);
  };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (state.socket === socket) closed(event);
  };
}

function send(frame) {
  state.socket.send(JSON.stringify(frame));
}

function subscribe() {
  if (state.ready && state.topic) send({ op: "subscribe", id: "follow", topic: state.topic, since: state.resume });
}

const FINAL_CODES = [1002, 1003, 1007, 1008, 1009];

function closed(event) {
  state.socket = null;
  state.ready = false;
  const reason = event.reason || `code ${event.code}`;
  if (event.code >= 4500 || FINAL_CODES.includes(event.code)) {
    show(`closed: ${reason}`, "bad");
    return;
  }
  if (!state.topic && state.unanswered.size === 0) {
    show("not connected", "off");
    return;
  }
  const wait = BACK_OFF_MS[Math.min(state.attempts, BACK_OFF_MS.length - 1)] * (0.5 + Math.random() / 2);
  state.attempts += 1;
  show(`connection lost (${reason}), trying again`, "waiting");
  state.timer = setTimeout(connect, wait);
}

function disconnect() {
  state.topic = null;
  clearTimeout(state.timer);
  const socket = state.socket;
  state.socket = null;
  state.ready = false;
  socket?.close(1000);
  element("stop").disabled = true;
  show("not connected", "off");
}

// --- what the node sends ---

const receivers = {
  welcome(frame) {
    show(`connected to ${frame.node}`, "on");
  },
  subscribed(frame) {
    state.attempts = 0;
    state.resume = frame.after;
    show(`following ${frame.topic}`, "on");
    note(frame);
  },
  gap(frame) {
    if (frame.topic !== state.topic) return;
    state.resume = afterGap(frame);
    note(frame);
  },
  message(frame) {
    if (frame.topic !== state.topic) return;
    // By epoch and offset, never by offset alone: after a failover a new epoch may use the same offsets again.
    if (frame.epoch === state.resume.epoch && frame.offset <= state.resume.offset) return;
    state.resume = { epoch: frame.epoch, offset: frame.offset };
    queueRow(messageRow(frame));
  },
  published(frame) {
    if (!state.unanswered.delete(frame.id)) return;
    element("published").textContent = `stored at ${frame.epoch}-${frame.offset}${frame.duplicate ? " (already there)" : ""}`;
  },
  error(frame) {
    if (state.unanswered.has(frame.id)) publishRefused(frame);
    else refused(frame);
  },
};

function receive(frame) {
  if (Object.hasOwn(receivers, frame.op)) receivers[frame.op](frame);
}

function afterGap({ recovery, missing }) {
  if (recovery === "lost") return "earliest";
  const [first, last] = [missing[0], missing.at(-1)];
  const rolledBack = recovery === "rolled_back" && missing.length === 1;
  return rolledBack ? { epoch: first.epoch, offset: first.first - 1 } : { epoch: last.epoch, offset: last.last };
}

function note(frame) {
  const ranges = (frame.missing ?? []).map((range) => `${range.first} to ${range.last} of epoch ${range.epoch}`).join(", ");
  const words = {
    complete: "Continued without a gap.",
    trimmed: `Retention removed messages ${ranges}.`,
    rolled_back: `A failover took back messages ${ranges}.`,
    lost: "The place is not known here any more: starting at the oldest message that is kept.",
  };
  const text = words[frame.recovery];
  if (text) queueRow(noteRow(text, frame.recovery === "complete"));
}

function refused(frame) {
  const reason = frame.reason ?? frame.code;
  queueRow(noteRow(reason, false));
  if (frame.id === "follow" && frame.retry_ms) {
    // The log is away, or this node does not know our place yet: the socket stays, the question comes again.
    state.timer = setTimeout(subscribe, frame.retry_ms);
  } else if (frame.id === "follow" || frame.topic === state.topic) {
    disconnect();
    show(reason, "bad");
  }
}

function publishRefused(frame) {
  const again = state.unanswered.get(frame.id);
  element("published").textContent = frame.reason ?? frame.code;
  if (frame.retry_ms) setTimeout(() => state.ready && state.unanswered.has(frame.id) && send(again), frame.retry_ms);
  else state.unanswered.delete(frame.id);
}

// --- rows: a bounded list, drawn once a frame ---

let queued = [];

function queueRow(row) {
  if (queued.length === 0) requestAnimationFrame(drawRows);
  queued.push(row);
  if (queued.length > MAX_ROWS) queued.shift();
}

function drawRows() {
  const list = element("messages");
  const tail = element("tail");
  const atEnd = tail.scrollHeight - tail.scrollTop - tail.clientHeight < 40;
  list.append(...queued);
  queued = [];
  while (list.childElementCount > MAX_ROWS) list.firstElementChild.remove();
  if (atEnd) tail.scrollTop = tail.scrollHeight;
}

function cell(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function messageRow(frame) {
  const row = document.createElement("li");
  const place = cell("span", "place", String(frame.offset));
  place.title = `${frame.epoch}-${frame.offset}`;
  row.append(place, cell("time", "", new Date(frame.time).toLocaleTimeString()), cell("span", "body", bodyOf(frame)));
  if (frame.attributes) row.append(cell("span", "attributes", JSON.stringify(frame.attributes)));
  return row;
}

function bodyOf(frame) {
  if ("text" in frame) return frame.text;
  return "json" in frame ? JSON.stringify(frame.json) : `base64 ${frame.base64}`;
}

function noteRow(text, fine) {
  return cell("li", fine ? "note fine" : "note", text);
}

// --- the forms ---

element("follow").addEventListener("submit", (event) => {
  event.preventDefault();
  disconnect();
  try {
    state.resume = readSince(element("since").value);
  } catch (error) {
    show(error.message, "bad");
    return;
  }
  state.topic = element("topic").value.trim();
  sessionStorage.setItem("headrace.token", element("token").value.trim());
  element("stop").disabled = false;
  state.attempts = 0;
  connect();
});

element("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = element("message").value;
  const frame = { op: "publish", topic: element("topic").value.trim(), publisher: state.publisher, seq: state.sequence };
  try {
    if (element("kind").value === "json") frame.json = JSON.parse(text);
    else frame.text = text;
  } catch (error) {
    element("published").textContent = `Not JSON: ${error.message}`;
    return;
  }
  frame.id = `publish-${state.sequence}`;
  state.sequence += 1;
  sessionStorage.setItem("headrace.token", element("token").value.trim());
  element("published").textContent = "sending";
  state.unanswered.set(frame.id, frame);
  if (state.ready) send(frame);
  else if (!state.socket) connect();
});

element("stop").addEventListener("click", disconnect);
element("clear").addEventListener("click", () => element("messages").replaceChildren());
element("token").value = sessionStorage.getItem("headrace.token") ?? "";
