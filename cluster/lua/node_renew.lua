#!lua flags=allow-oom
-- Renews a node's lease and reads everybody's. What was taken is not put up again: survivors may have acted on it.
-- KEYS:    1 leases (hash), 2 gone (hash)
-- ARGV:    1 node id, 2 its nonce and a space, 3 the renewed lease
-- RETURNS: nil when the lease is not there, or another's; else a flat list of ids and leases, and the ids of the gone
local lease = redis.call('HGET', KEYS[1], ARGV[1])
if not lease or string.sub(lease, 1, #ARGV[2]) ~= ARGV[2] then
  return false
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return { redis.call('HGETALL', KEYS[1]), redis.call('HKEYS', KEYS[2]) }
