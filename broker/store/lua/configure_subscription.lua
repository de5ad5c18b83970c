#!lua
-- Replaces a subscription's settings, of which kind and ordering are for life.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, 2 kind, 3 settings as packed, 4 ack deadline s, 5 most outstanding,
--          6 ordering: '=' and the attribute or ''
-- RETURNS: a refusal as in `_subscription` (1 also for another ordering); else info as in `describe_subscription`
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _subscription_info
local sub, refusal = open(ARGV[2])
if not sub and refusal ~= GONE then
  return refusal
end
if redis.call('HGET', KEYS[3], 'order') ~= ARGV[6] then
  return WRONG_KIND
end
redis.call('HSET', KEYS[3], 'settings', ARGV[3], 'deadline_s', ARGV[4], 'outstanding', ARGV[5])
return subscription_info(sub)
