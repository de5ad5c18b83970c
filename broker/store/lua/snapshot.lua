#!lua flags=allow-oom
-- Tells a topic's snapshot: the newest message that was published to be retained. It outlives what retention trims.
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    none
-- RETURNS: nil when there is no such topic; else epoch and next offset (every retained message so far lies before), then
--          ID, time ms, envelope, or nothing where there is none
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'next', 'kept', 'kept_time', 'snapshot')
if not meta[2] then
  return false
end
return meta[3] and meta or { meta[1], meta[2] }
