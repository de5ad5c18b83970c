#!lua flags=allow-oom
-- Renews a duty's lease. One that ran out is not taken again: another may have had it in between.
-- KEYS:    1 lease (string with a TTL)
-- ARGV:    1 token, 2 ms that it lasts from now
-- RETURNS: 1, or 0 when the token does not hold it
-- include: _owner

if not is_owner(KEYS[1], ARGV[1]) then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
