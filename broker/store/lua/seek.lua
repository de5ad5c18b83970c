#!lua flags=allow-oom
-- Moves a subscription's cursor within the log. What is pending is forgotten, and its tokens are stale.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, 2 epoch of a place ('': an offset follows), 3 the place's offset, or the offset
--          of the message to come first
-- RETURNS: a refusal as in `_subscription`; else info as in `describe_subscription`
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _place
-- include: _subscription_info
local sub, refusal = open(nil)
if not sub then
  return refusal
end
local offset = tonumber(ARGV[3])
if ARGV[2] == '' then
  if offset < first_offset(sub) or offset > sub.next then
    return OUTSIDE
  end
  offset = offset - 1
elseif not is_place(ARGV[2], offset, sub.next) then
  return OUTSIDE
end
forget_pending(sub, offset)
return subscription_info(sub)
