#!lua flags=allow-oom
-- Gives a duty back, so that another node need not wait for the lease to run out.
-- KEYS:    1 lease (string with a TTL)
-- ARGV:    1 token
-- RETURNS: 1, or 0 when the token does not hold it
-- include: _owner

if not is_owner(KEYS[1], ARGV[1]) then
  return 0
end
return redis.call('DEL', KEYS[1])
