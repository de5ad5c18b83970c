#!lua flags=allow-oom
-- Deletes a subscription with its consumer group.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name
-- RETURNS: 1, or 0 when there is none
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
end
redis.call('UNLINK', KEYS[4], KEYS[5])
return redis.call('UNLINK', KEYS[3])
