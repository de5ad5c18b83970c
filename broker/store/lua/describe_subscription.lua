#!lua flags=allow-oom
-- Tells a subscription's settings and where it stands.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name
-- RETURNS: a refusal as in `_subscription`; else what `_subscription_info` lists, the log's part only if there is one
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _subscription_info
local sub, refusal = open(nil)
if refusal == false then
  return false
end
return subscription_info(sub)
