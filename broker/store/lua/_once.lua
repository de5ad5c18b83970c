#!lua
-- Included by `publish` and `trim`: idempotency records (docs: broker/store/once.py is the reference). Needs `_epoch`.
-- KEYS:    3 once (hash). Its fields:
--            v               '1', so that the key exists from the topic's creation on
--            k<id>           a key's record: 'epoch:offset:count:time:digest'
--            p<id>#<slot>    a publisher's record, slot = sequence % WINDOW: 'sequence:' and the same
--            h<id>           a publisher: 'lowest:highest:active ms:slots in use'
--            q<n>            the queue of k and h, oldest first: 'queued ms:field'
--          meta's field `once` is 'head:tail:records:oldest ms' of that queue (head = tail: empty)
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions
local WINDOW, CHANCES, SWEEP, CHUNK = 1024, 16, 64, 1000
local queue
local held, changed = {}, {}

local function open_queue(text)
  local head, tail, records, oldest = string.match(text or '', '^(%d+):(%d+):(%d+):(%d+)$')
  queue = { head = tonumber(head or 0), tail = tonumber(tail or 0) }
  queue.records, queue.oldest = tonumber(records or 0), tonumber(oldest or 0)
end

local function queue_text()
  return table.concat({ int(queue.head), int(queue.tail), int(queue.records), int(queue.oldest) }, ':')
end

local function set_once(field, value)
  held[field] = value
  changed[#changed + 1] = field
  changed[#changed + 1] = value
end

local function enqueue(time, field)
  if queue.head == queue.tail then
    queue.oldest = time
  end
  set_once('q' .. int(queue.tail), int(time) .. ':' .. field)
  queue.tail = queue.tail + 1
end

local function flush_once()
  for at = 1, #changed, CHUNK do
    redis.call('HSET', KEYS[3], unpack(changed, at, math.min(at + CHUNK - 1, #changed)))
  end
  changed = {}
end

local function load_once(fields)
  for at = 1, #fields, CHUNK do
    local values = redis.call('HMGET', KEYS[3], unpack(fields, at, math.min(at + CHUNK - 1, #fields)))
    for index, value in ipairs(values) do
      held[fields[at + index - 1]] = value
    end
  end
end

local function ring_fields(id, lowest, highest)
  local fields = { 'h' .. id }
  for sequence = math.max(lowest, highest - WINDOW + 1), highest do
    fields[#fields + 1] = 'p' .. id .. '#' .. sequence % WINDOW
  end
  return fields
end

-- Removes the queue's head, or moves it to the tail (true) when it is a publisher that was active since.
-- Whatever was set before must be flushed.
local function drop_head(chances)
  local item = 'q' .. int(queue.head)
  local queued, kind, id = string.match(redis.call('HGET', KEYS[3], item) or '', '^(%d+):(.)(.*)$')
  local moved = false
  queue.head = queue.head + 1
  redis.call('HDEL', KEYS[3], item)
  if kind == 'k' then
    redis.call('HDEL', KEYS[3], 'k' .. id)
    queue.records = queue.records - 1
  elseif kind == 'h' then
    local ring = redis.call('HGET', KEYS[3], 'h' .. id) or '0:0:0:0'
    local lowest, highest, active, used = string.match(ring, '^(%d+):(%d+):(%d+):(%d+)$')
    moved = chances > 0 and tonumber(active) > tonumber(queued)
    if moved then
      enqueue(tonumber(active), 'h' .. id)
      flush_once()
    else
      redis.call('HDEL', KEYS[3], unpack(ring_fields(id, tonumber(lowest), tonumber(highest))))
      queue.records = queue.records - tonumber(used)
    end
  end
  if queue.head < queue.tail then
    local value = redis.call('HGET', KEYS[3], 'q' .. int(queue.head)) or '0:'
    queue.oldest = tonumber(string.match(value, '^%d+'))
  end
  return moved
end

local function drop_old_once(now, max_age_ms)
  local chances = CHANCES
  for _ = 1, SWEEP do
    if queue.head == queue.tail or queue.oldest > now - max_age_ms then
      return
    end
    if drop_head(chances) then
      chances = chances - 1
    end
  end
end

local function drop_excess_once(max_records)
  local chances = CHANCES
  while queue.records > max_records and queue.head < queue.tail do
    if drop_head(chances) then
      chances = chances - 1
    end
  end
end
