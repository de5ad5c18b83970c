#!lua
-- Replaces one field of a hash if it still holds what the caller saw: two nodes never overwrite each other unseen.
-- KEYS:    1 hash
-- ARGV:    1 field, 2 the value expected ('': absent), 3 the new value ('': remove)
-- RETURNS: 1, also when it holds the new value already; 0 when it holds another
local value = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if value == ARGV[3] then
  return 1
end
if value ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
