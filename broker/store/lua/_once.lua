-- Included by `publish` and `trim`: idempotency records (docs: broker/store/once.py is the reference). Needs `_epoch`.
-- KEYS:    3 once (hash). Its fields:
--            v               '1', so that the key exists from the topic's creation on
--            k<id>           a key's record: 'epoch:offset:count:time:digest'
--            p<id>#<slot>    a publisher's record, slot = sequence % WINDOW: 'sequence:' and the same
--            h<id>           a publisher: four big-endian doubles, lowest and highest sequence, time ms when it was
--                            last active, slots in use
--            q<n>            the queue of k and h fields, oldest first: 'queued ms:field'
--          meta's field `once` is 'head:tail:records:oldest ms' of that queue (head = tail: empty)
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions
local WINDOW, CHUNK, RING = 1024, 1000, '>dddd'
local queue
local changed = {}

local function open_queue(text)
  local head, tail, records, oldest = string.match(text or '', '^(%d+):(%d+):(%d+):(%d+)$')
  queue = { head = tonumber(head or 0), tail = tonumber(tail or 0), items = {} }
  queue.records, queue.oldest = tonumber(records or 0), tonumber(oldest or 0)
end

local function queue_text()
  return int(queue.head) .. ':' .. int(queue.tail) .. ':' .. int(queue.records) .. ':' .. int(queue.oldest)
end

local function set_once(field, value)
  local at = #changed
  changed[at + 1], changed[at + 2] = field, value
end

local function in_chunks(command, values)
  for at = 1, #values, CHUNK do
    redis.call(command, KEYS[3], unpack(values, at, math.min(at + CHUNK - 1, #values)))
  end
end

local function enqueue(time, field)
  if queue.head == queue.tail then
    queue.oldest = time
  end
  set_once('q' .. int(queue.tail), int(time) .. ':' .. field)
  queue.tail, queue.changed = queue.tail + 1, true
end

local function flush_once()
  in_chunks('HSET', changed)
  changed = {}
end

-- Forgets what is too old, SWEEP items a call, and the oldest beyond the bound. What it needs is defined inside,
-- because a script defines its functions anew at each call, and most calls forget nothing.
local function forget(max_records, oldest)
-- include: _forget
end
