-- Included by the scripts of subscriptions. Needs `_epoch` and `_ids`.
-- KEYS:    1 log, 2 meta,
--          3 sub (hash: kind, settings as packed, deadline_s, outstanding, order ('=' and the attribute), nonce, created;
--            born (nonce of the topic it stands on), epoch and cursor (of the last entry behind it), generation;
--            window, window_epoch, pulled_s of a cursor's pull; held; trimmed, expired, restarts, restarted, delivered, bytes)
--          4 due (zset: offset in 16 digits to its deadline in ms),
--          5 leases (hash: offset in 16 digits to 'epoch:time:attempt:key:token', no token: in nobody's hands; 'k' and a
--            key's digest to the last offset of its queue; 'n' and an offset to the one that waits behind it)
--          due and leases hold a 'v' besides, so that they always exist
-- ARGV:    1 the consumer group's name
-- RETURNS: nothing, it defines functions. Refusals: nil no such subscription, 0 its topic was deleted, 1 wrong kind,
--          2 out of bounds, 3 it exists already
local GONE, WRONG_KIND, OUTSIDE, EXISTS = 0, 1, 2, 3
local CONSUMER = 'c'

-- What a digit string of 16 sorts as a number.
local function padded(offset)
  return string.format('%016.0f', offset)
end

local function now_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end

-- Tells whether a message has outlived what its publisher gave it.
local function has_expired(entry, now)
  return entry[2][6] and tonumber(entry[2][6]) <= now
end

-- The newest epoch that began at or before an offset.
local function epoch_of(offset)
  local found
  for epoch, first in string.gmatch(redis.call('HGET', KEYS[2], 'chain'), '(%d+):(%d+)') do
    if not found or tonumber(first) <= offset then
      found = epoch
    end
  end
  return found
end

local function group_id(epoch, offset)
  return offset < 0 and '0-0' or epoch .. '-' .. int(offset)
end

-- The group's last-delivered ID is the cursor. It is kept beside, because XINFO walks all groups of a log.
local function move_cursor(sub, offset)
  sub.cursor_epoch, sub.cursor = epoch_of(offset), offset
  redis.call('HSET', KEYS[3], 'epoch', sub.cursor_epoch, 'cursor', int(offset))
  local id = group_id(sub.cursor_epoch, offset)
  if redis.pcall('XGROUP', 'SETID', KEYS[1], ARGV[1], id).err then
    redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], id)
  end
end

-- Forgets what is pending, and makes the tokens of it stale.
local function forget_pending(sub, offset)
  redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
  redis.call('UNLINK', KEYS[4], KEYS[5])
  redis.call('ZADD', KEYS[4], '+inf', 'v')
  redis.call('HSET', KEYS[5], 'v', '1')
  sub.generation = int(sub.generation + 1)
  redis.call('HSET', KEYS[3], 'generation', sub.generation, 'held', '0')
  redis.call('HDEL', KEYS[3], 'window', 'window_epoch', 'pulled_s')
  move_cursor(sub, offset)
end

-- Passes over what retention took before it was read; answers how many those were.
local function pass_over(sub, last)
  local lost = last - sub.cursor
  if lost <= 0 then
    return 0
  end
  redis.call('HINCRBY', KEYS[3], 'trimmed', lost)
  move_cursor(sub, last)
  return lost
end

local function first_offset(sub)
  local id = first_id()
  if not id then
    return sub.next
  end
  local _, offset = split_id(id)
  return offset
end

-- Opens the subscription in its topic's present epoch: nil and the refusal, or what it stands at. A topic that was
-- created again is gone on with at its first message; nobody stands beyond the end, where new messages would be hidden.
local function open(kind)
  local found = redis.call('HMGET', KEYS[3], 'kind', 'born', 'epoch', 'cursor', 'generation', 'restarted', 'settings')
  if not found[1] then
    return nil, false
  end
  if kind and found[1] ~= kind then
    return nil, WRONG_KIND
  end
  local meta = redis.call('HMGET', KEYS[2], 'epoch', 'next', 'replid', 'nonce')
  if not meta[2] then
    return nil, GONE
  end
  local epoch, next_offset = current_epoch(meta[1], meta[2], meta[3])
  local sub = { kind = found[1], epoch = epoch, next = next_offset, cursor_epoch = found[3],
    cursor = tonumber(found[4]), generation = found[5], restarted = found[6] == '1' and 1 or 0, settings = found[7] }
  if found[2] ~= meta[4] then
    redis.call('HSET', KEYS[3], 'born', meta[4], 'restarted', '1')
    redis.call('HINCRBY', KEYS[3], 'restarts', 1)
    sub.restarted = 1
    forget_pending(sub, -1)
  elseif sub.cursor >= next_offset then
    move_cursor(sub, next_offset - 1)
  end
  return sub
end
