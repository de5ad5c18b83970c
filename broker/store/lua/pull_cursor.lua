#!lua flags=allow-oom
-- Reads what follows a cursor and opens its window. The cursor moves only over what retention took.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, 2 most entries, 3 most envelope bytes (one entry always)
-- RETURNS: a refusal as in `_subscription`; else messages passed over, 1 when the topic was created again since the last
--          pull, then ID, time, envelope an entry
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _page
local sub, refusal = open('cursor')
if not sub then
  return refusal
end
local answer = { pass_over(sub, first_offset(sub) - 1), sub.restarted }
local start = sub.cursor_epoch .. '-' .. int(sub.cursor + 1)
local taken, bytes = read_page(answer, start, tonumber(ARGV[2]), tonumber(ARGV[3]))
redis.call('HSET', KEYS[3], 'window', int(sub.cursor + 1 + taken), 'window_epoch', sub.epoch,
  'pulled_s', redis.call('TIME')[1], 'restarted', '0')
if taken > 0 then
  redis.call('HINCRBY', KEYS[3], 'delivered', taken)
  redis.call('HINCRBY', KEYS[3], 'bytes', int(bytes))
end
return answer
