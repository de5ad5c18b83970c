#!lua
-- Puts up a node's lease under an id that is new.
-- KEYS:    1 leases (hash), 2 gone (hash)
-- ARGV:    1 node id, 2 its lease
-- RETURNS: 1, also when that very lease stands there; 0 when the id is used
local lease = redis.call('HGET', KEYS[1], ARGV[1])
if lease == ARGV[2] then
  return 1
end
if lease or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
