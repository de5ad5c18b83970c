-- Included where IDs are taken apart or minted. Needs `_epoch` for `int`.
-- KEYS:    1 log
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions
local SPAN = 2097152

local function split_id(id)
  local epoch, offset = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(epoch), tonumber(offset)
end

-- The ID of the log's first or last entry, nil when it retains none.
local function first_id()
  local found = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  return found and found[1]
end

local function last_id()
  local found = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  return found and found[1]
end

local function replication_id(info)
  local _, colon = string.find(info, 'master_replid:', 1, true)
  return string.sub(info, colon + 1, colon + 40)
end

local function mint_epoch(previous, last, replid)
  local seconds = tonumber(redis.call('TIME')[1])
  local bits = tonumber(string.sub(replid, 1, 6), 16) % SPAN
  return int(math.max(seconds, math.floor(previous / SPAN) + 1, math.floor(last / SPAN) + 1) * SPAN + bits)
end
