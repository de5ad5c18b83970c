-- Included by scripts that answer with a log's state. Needs `_epoch` and `_ids`.
-- KEYS:    1 log, 2 meta
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions

-- {chain, next offset, first ID or ''}, nil when there is no such topic. Begins a new epoch where one is due.
local function log_state()
  local meta = redis.call('HMGET', KEYS[2], 'epoch', 'next', 'replid')
  if not meta[2] then
    return nil
  end
  local _, next_offset = current_epoch(meta[1], meta[2], meta[3])
  return { redis.call('HGET', KEYS[2], 'chain'), next_offset, first_id() or '' }
end

-- The state, then bytes retained, creation in ms, and the three limits ('' where inherited).
local function topic_info()
  local info = log_state()
  if not info then
    return false
  end
  local meta = redis.call('HMGET', KEYS[2], 'bytes', 'created', 'max_messages', 'max_bytes', 'max_age_ms')
  for index = 1, 5 do
    info[#info + 1] = meta[index]
  end
  return info
end
