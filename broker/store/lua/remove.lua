#!lua flags=allow-oom
-- Removes one field of a hash if it still holds what the caller saw.
-- KEYS:    1 hash
-- ARGV:    1 field, 2 the value expected
-- RETURNS: 1, or 0 when it holds another or is absent
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
