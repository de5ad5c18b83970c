#!lua flags=allow-oom
-- Reads what follows a cursor and opens its window. The cursor moves only over what retention took.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, 2 most entries, 3 most envelope bytes (one entry always), 4 most expired messages
--          to pass over
-- RETURNS: a refusal as in `_subscription`; else messages passed over as trimmed and as expired, 1 when the topic was created again since the last
--          pull, then ID, time, envelope an entry
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _page
local sub, refusal = open('cursor')
if not sub then
  return refusal
end
local now, scan = now_ms(), tonumber(ARGV[4])

-- Moves the cursor over the expired messages that come first; answers how many those were.
local function pass_expired()
  local from, id = sub.cursor, '(' .. group_id(sub.cursor_epoch, sub.cursor)
  while sub.cursor - from < scan do
    local entry = redis.call('XRANGE', KEYS[1], id, '+', 'COUNT', 1)[1]
    if not entry or not has_expired(entry, now) then
      break
    end
    id, sub.cursor = '(' .. entry[1], sub.cursor + 1
  end
  if sub.cursor > from then
    redis.call('HINCRBY', KEYS[3], 'expired', sub.cursor - from)
    move_cursor(sub, sub.cursor)
  end
  return sub.cursor - from
end

local function skips(entry)
  scan = scan - 1
  return scan >= 0 and has_expired(entry, now)
end

local answer = { pass_over(sub, first_offset(sub) - 1), pass_expired(), sub.restarted }
local start = sub.cursor_epoch .. '-' .. int(sub.cursor + 1)
local taken, bytes, skipped = read_page(answer, start, tonumber(ARGV[2]), tonumber(ARGV[3]), skips)
answer[2] = answer[2] + skipped
redis.call('HSET', KEYS[3], 'window', int(sub.cursor + 1 + taken + skipped), 'window_epoch', sub.epoch,
  'pulled_s', redis.call('TIME')[1], 'restarted', '0')
if taken > 0 then
  redis.call('HINCRBY', KEYS[3], 'delivered', taken)
  redis.call('HINCRBY', KEYS[3], 'bytes', int(bytes))
end
return answer
