#!lua
-- Writes entries of a node's directory. A directory always has a time to live: a node that was stopped, and does not know
-- yet that it is gone and cleared away, may write one that nobody looks after.
-- KEYS:    1 connections (hash)
-- ARGV:    1 seconds to live, for a hash that has no such time yet, then connection and record alternately
-- RETURNS: how many were new
local added = redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if redis.call('TTL', KEYS[1]) < 0 then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return added
