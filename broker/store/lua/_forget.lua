-- Included by `_once`, as the body of `forget(max_records, oldest)`.
-- KEYS:    3 once
-- ARGV:    none of its own
-- RETURNS: nothing
local CHANCES, SWEEP = 16, 64

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

local left = SWEEP
drop_while(function()
  left = left - 1
  return left >= 0 and queue.oldest <= oldest
end, math.min(SWEEP, queue.tail - queue.head))
drop_while(function()
  return queue.records > max_records
end, queue.records - max_records + 1)
