#!lua flags=allow-oom
-- Takes the lease of a node that is gone (or of the caller itself, which leaves) and notes the node as gone, until what
-- it left behind is cleared away. One that has renewed meanwhile keeps it.
-- KEYS:    1 leases (hash), 2 gone (hash)
-- ARGV:    1 node id, 2 the lease that was seen
-- RETURNS: 1 when it was taken by this call or one before, 0 when the node has another lease now
local lease = redis.call('HGET', KEYS[1], ARGV[1])
if not lease then
  return redis.call('HEXISTS', KEYS[2], ARGV[1])
end
if lease ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
