#!lua
-- Takes a duty that nobody holds. Safe to send twice: whoever holds it by this very token has it.
-- KEYS:    1 lease (string with a TTL)
-- ARGV:    1 token, 2 ms that it lasts without being renewed
-- RETURNS: 0 when it is the caller's; else the ms for which another has it, at least 1
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 0
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 0
end
return math.max(redis.call('PTTL', KEYS[1]), 1)
