#!lua flags=allow-oom
-- Removes an entry of a gone node's directory that was dealt with, if its claim is the caller's still.
-- KEYS:    1 connections (hash), 2 claims (hash)
-- ARGV:    1 token, 2 connection
-- RETURNS: 1, or 0 when another has claimed it meanwhile or it is not there
local held = redis.call('HGET', KEYS[2], ARGV[2])
if not held or string.match(held, '^(%S+) ') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[2])
return redis.call('HDEL', KEYS[1], ARGV[2])
