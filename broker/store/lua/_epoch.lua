-- Included by scripts that open a log: in which epoch is this primary? (docs: broker/positions.py, DESIGN 4)
-- An epoch is a stretch of history that one primary wrote without a cut. The primary's replication id tells: it differs
-- after a promotion and a restart. Then a new epoch begins and offsets go on from the log's real end.
-- KEYS:    1 log, 2 meta (hash: epoch, next, replid, chain = 'epoch:first,epoch:first', time, bytes, created, max_*)
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions

-- Numbers above 1e14 must not go through `..` or tostring: they would come out rounded.
local function int(number)
  return string.format('%.0f', number)
end

-- Rare. What it needs is defined inside, because a script defines its functions anew at each call.
local function begin_epoch(previous, next_offset, info)
-- include: _ids
-- include: _chain
  local last, last_epoch, first_offset = last_id(), 0, nil
  if last then
    local _, offset
    last_epoch, offset = split_id(last)
    next_offset = offset + 1
    _, first_offset = split_id(first_id())
  end
  local replid = replication_id(info)
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
  return begin_epoch(epoch, tonumber(next_offset), info)
end
