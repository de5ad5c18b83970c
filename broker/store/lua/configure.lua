#!lua
-- Replaces a topic's own retention.
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    1 most messages, 2 most bytes, 3 most age ms ('': inherited)
-- RETURNS: nil when there is no such topic; else its info as in `describe`
-- include: _epoch
-- include: _ids
-- include: _state
if redis.call('HEXISTS', KEYS[2], 'next') == 0 then
  return false
end
redis.call('HSET', KEYS[2], 'max_messages', ARGV[1], 'max_bytes', ARGV[2], 'max_age_ms', ARGV[3])
return topic_info()
