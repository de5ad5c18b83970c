#!lua flags=allow-oom
-- Reads a log's state and a page of entries, on the primary: a replica refuses it, because it may write (a new epoch).
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    1 ID to start at ('-' for the oldest), 2 most entries (may be 0), 3 most envelope bytes (one entry always)
-- RETURNS: nil when there is no such topic; else chain, next offset, first ID or '', then ID, time, envelope an entry
-- include: _epoch
-- include: _ids
-- include: _state
-- include: _page
local answer = log_state()
if not answer then
  return false
end
read_page(answer, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
return answer
