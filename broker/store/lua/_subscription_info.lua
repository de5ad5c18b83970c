-- Included by scripts that answer with a subscription's info. Needs `_epoch`, `_ids` and `_subscription`.
-- KEYS:    1 log, 2 meta, 3 sub, 4 due, 5 leases
-- ARGV:    1 the consumer group's name
-- RETURNS: nothing, it defines a function

local function oldest_ms(sub)
  if sub.kind == 'shared' then
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
    if pending[1] > 0 then
      local _, offset = split_id(pending[2])
      local record = redis.call('HGET', KEYS[5], padded(offset))
      return record and string.match(record, '^%d+:(%d+):') or ''
    end
  end
  local entry = redis.call('XRANGE', KEYS[1], sub.cursor_epoch .. '-' .. int(sub.cursor + 1), '+', 'COUNT', 1)[1]
  return entry and entry[2][2] or ''
end

local function pending_count(sub)
  if sub.kind == 'shared' then
    return redis.call('ZCARD', KEYS[4]) - 1 + redis.call('HGET', KEYS[3], 'held')
  end
  local window = redis.call('HMGET', KEYS[3], 'window', 'window_epoch')
  if window[2] ~= sub.epoch then
    return 0
  end
  return math.max(0, window[1] - 1 - sub.cursor)
end

-- Settings, creation ms, generation, trimmed, expired, restarts, delivered, bytes, cursor's epoch and offset; if the topic is
-- there also pending, oldest unacked ms or '', chain, next offset, first ID or ''. With `sub` nil: as it was left.
local function subscription_info(sub)
  if sub then
    pass_over(sub, first_offset(sub) - 1)
  end
  local info = redis.call('HMGET', KEYS[3], 'settings', 'created', 'generation', 'trimmed', 'expired', 'restarts',
    'delivered', 'bytes', 'epoch', 'cursor')
  if sub then
    local chain = redis.call('HGET', KEYS[2], 'chain')
    for _, value in ipairs({ pending_count(sub), oldest_ms(sub), chain, sub.next, first_id() or '' }) do
      info[#info + 1] = value
    end
  end
  return info
end
