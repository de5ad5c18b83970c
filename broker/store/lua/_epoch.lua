-- Included by scripts that open a log: in which epoch is this primary? (docs: broker/positions.py, DESIGN 4)
-- An epoch is a stretch of history that one primary wrote without a cut. The primary's replication id tells: it differs
-- after a promotion and a restart. Then a new epoch begins and offsets go on from the log's real end.
-- KEYS:    1 log, 2 meta (hash: epoch, next, replid, chain = 'epoch:first,epoch:first', time, bytes, created, max_*)
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions
local SPAN, SPARE_LINKS = 2097152, 64

-- Numbers above 1e14 must not go through `..` or tostring: they would come out rounded.
local function int(number)
  return string.format('%.0f', number)
end

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

-- Keeps the epochs that have entries in the log, and SPARE_LINKS others.
local function extend_chain(chain, epoch, next_offset, first_offset)
  local links = {}
  for link, first in string.gmatch(chain, '(%d+:(%d+))') do
    links[#links + 1] = { text = link, first = tonumber(first) }
  end
  local kept, spare, following = {}, SPARE_LINKS, next_offset
  for index = #links, 1, -1 do
    local link = links[index]
    local in_log = following - 1 >= math.max(link.first, first_offset)
    if in_log or spare > 0 then
      kept[#kept + 1] = link.text
    end
    if not in_log then
      spare = spare - 1
    end
    following = link.first
  end
  local ascending = {}
  for index = #kept, 1, -1 do
    ascending[#ascending + 1] = kept[index]
  end
  ascending[#ascending + 1] = epoch .. ':' .. int(next_offset)
  return table.concat(ascending, ',')
end

local function begin_epoch(previous, next_offset, replid)
  local last, last_epoch, first_offset = last_id(), 0, nil
  if last then
    local _, offset
    last_epoch, offset = split_id(last)
    next_offset = offset + 1
    _, first_offset = split_id(first_id())
  end
  local epoch = mint_epoch(tonumber(previous), last_epoch, replid)
  local chain = extend_chain(redis.call('HGET', KEYS[2], 'chain'), epoch, next_offset, first_offset or next_offset)
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'next', int(next_offset), 'replid', replid, 'chain', chain)
  return epoch, next_offset
end

-- What meta says, put right: the epoch as text, the next offset as a number.
local function current_epoch(epoch, next_offset, replid)
  local info = redis.call('INFO', 'replication')
  if string.find(info, 'master_replid:' .. replid, 1, true) then
    return epoch, tonumber(next_offset)
  end
  return begin_epoch(epoch, tonumber(next_offset), replication_id(info))
end
