#!lua flags=allow-oom
-- Commits a cursor up to an offset and closes its window (contract ams.md 6).
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, 2 offset
-- RETURNS: a refusal as in `_subscription`; else 'committed', or why nothing changed: 'already', 'nothing_pending' (also
--          for a window of an earlier epoch), 'outside', 'timeout'
-- include: _epoch
-- include: _ids
-- include: _subscription
local sub, refusal = open('cursor')
if not sub then
  return refusal
end
local offset = tonumber(ARGV[2])
if offset <= sub.cursor then
  return 'already'
end
local held = redis.call('HMGET', KEYS[3], 'window', 'window_epoch', 'pulled_s', 'deadline_s')
if held[2] ~= sub.epoch then
  return 'nothing_pending'
end
if offset >= tonumber(held[1]) then
  return 'outside'
end
-- In whole seconds, as the contract has it.
if redis.call('TIME')[1] - held[3] > tonumber(held[4]) then
  return 'timeout'
end
move_cursor(sub, offset)
redis.call('HDEL', KEYS[3], 'window', 'window_epoch', 'pulled_s')
return 'committed'
