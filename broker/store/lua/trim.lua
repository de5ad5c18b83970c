#!lua flags=allow-oom
-- Removes what a log should not retain any longer, oldest first, exactly, a bounded number a call: what exceeds a limit,
-- and expired messages when they are the oldest; and idempotency records that are too old.
-- KEYS:    1 log (stream), 2 meta (hash), 3 once (hash)
-- ARGV:    1 most messages, 2 most bytes, 3 most age ms ('': no limit), 4 most entries to remove, 5 most bytes to read,
--          6 age ms of once records
-- RETURNS: nil when there is no such topic; else the number removed, and 1 when it stopped at its own bound
-- include: _epoch
-- include: _ids
-- include: _once
local STEP = 32

local meta = redis.call('HMGET', KEYS[2], 'next', 'bytes', 'once')
if not meta[1] then
  return false
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local count, bytes = redis.call('XLEN', KEYS[1]), tonumber(meta[2])
local most, most_bytes = tonumber(ARGV[1]) or math.huge, tonumber(ARGV[2]) or math.huge
local oldest = now - (tonumber(ARGV[3]) or math.huge)
local left, budget = tonumber(ARGV[4]), tonumber(ARGV[5])

local function exceeds(entry)
  return count > most or bytes > most_bytes or tonumber(entry[2][2]) < oldest
    or entry[2][6] and tonumber(entry[2][6]) <= now
end

-- The last ID that has to go, how many up to it, and whether the bound stopped the search.
local function find_excess()
  local last, removed, start = nil, 0, '-'
  while true do
    local found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', STEP)
    for _, entry in ipairs(found) do
      if not exceeds(entry) then
        return last, removed, 0
      end
      if removed == left or budget <= 0 then
        return last, removed, 1
      end
      local size = #entry[2][4]
      count, bytes, budget, removed = count - 1, bytes - size, budget - size, removed + 1
      last, start = entry[1], '(' .. entry[1]
    end
    if #found < STEP then
      return last, removed, 0
    end
  end
end

local last, removed, more = find_excess()
if last then
  local epoch, offset = split_id(last)
  redis.call('XTRIM', KEYS[1], 'MINID', '=', int(epoch) .. '-' .. int(offset + 1))
  redis.call('HSET', KEYS[2], 'bytes', int(bytes))
end
open_queue(meta[3])
forget(math.huge, now - ARGV[6])
if queue.changed then
  redis.call('HSET', KEYS[2], 'once', queue_text())
end
return { removed, more }
