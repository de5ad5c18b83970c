#!lua flags=allow-oom
-- Tells a topic's snapshot: the newest message that was published to be retained. It outlives what retention trims.
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    none
-- RETURNS: nil when there is no such topic; else ID, time ms, envelope, or nothing where there is none
local meta = redis.call('HMGET', KEYS[2], 'next', 'kept', 'kept_time', 'snapshot')
if not meta[1] then
  return false
end
return meta[2] and { meta[2], meta[3], meta[4] } or {}
