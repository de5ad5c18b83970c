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
local WINDOW, CHANCES, SWEEP, CHUNK, RING = 1024, 16, 64, 1000, '>dddd'
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

-- Reads the items from the queue's head on that will probably be looked at.
local function load_items(count)
  local names = {}
  for at = queue.head, math.min(queue.head + math.min(count, CHUNK), queue.tail) - 1 do
    names[#names + 1] = 'q' .. int(at)
  end
  for index, value in ipairs(redis.call('HMGET', KEYS[3], unpack(names))) do
    queue.items[queue.head + index - 1] = value or '0:'
  end
end

local function head_item(ahead)
  if not queue.items[queue.head] then
    flush_once()
    load_items(ahead)
  end
  return string.match(queue.items[queue.head], '^(%d+):(.?)(.*)$')
end

local function drop_ring(id, lowest, highest, gone)
  gone[#gone + 1] = 'h' .. id
  for sequence = math.max(lowest, highest - WINDOW + 1), highest do
    gone[#gone + 1] = 'p' .. id .. '#' .. sequence % WINDOW
  end
end

-- Takes the queue's head away: adds what it named to `gone`, or moves it to the tail (true) when it is a publisher
-- that was active since it was queued. `ahead`: how many more will be looked at.
local function drop_head(chances, ahead, gone)
  local queued, kind, id = head_item(ahead)
  local moved = false
  queue.changed = true
  gone[#gone + 1] = 'q' .. int(queue.head)
  queue.head = queue.head + 1
  if kind == 'k' then
    gone[#gone + 1] = 'k' .. id
    queue.records = queue.records - 1
  elseif kind == 'h' then
    local ring = redis.call('HGET', KEYS[3], 'h' .. id)
    local lowest, highest, active, used = struct.unpack(RING, ring)
    moved = chances > 0 and active > tonumber(queued)
    if moved then
      enqueue(active, 'h' .. id)
    else
      drop_ring(id, lowest, highest, gone)
      queue.records = queue.records - used
    end
  end
  if queue.head < queue.tail then
    queue.oldest = tonumber((head_item(ahead)))
  end
  return moved
end

local function drop_while(condition, ahead)
  local chances, gone = CHANCES, {}
  while queue.head < queue.tail and condition() do
    if drop_head(chances, ahead, gone) then
      chances = chances - 1
    end
  end
  flush_once()
  in_chunks('HDEL', gone)
end

local function drop_old_once(now, max_age_ms)
  local left = SWEEP
  if queue.head == queue.tail or queue.oldest > now - max_age_ms then
    return
  end
  drop_while(function()
    left = left - 1
    return left >= 0 and queue.oldest <= now - max_age_ms
  end, SWEEP + 1)
end

local function drop_excess_once(max_records)
  local excess = queue.records - max_records
  if excess > 0 then
    drop_while(function()
      return queue.records > max_records
    end, excess + 1)
  end
end
