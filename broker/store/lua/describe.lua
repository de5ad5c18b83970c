#!lua flags=allow-oom
-- Tells a topic's state and settings.
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    none
-- RETURNS: nil when there is no such topic; else chain, next offset, first ID or '', bytes retained, creation ms,
--          most messages, most bytes, most age ms ('': inherited)
-- include: _epoch
-- include: _ids
-- include: _state
return topic_info()
