#!lua flags=allow-oom
-- Reads a page of a client's messages for one of its connections, and notes what that has been given before.
-- KEYS:    1 queue (stream), 2 state (hash): see `_channel`
-- ARGV:    1 name, 2 its cursor ('': nothing new was given), 3 ID to start at, 4 most messages, 5 most bytes
-- RETURNS: nil when the connection is not known; else chain, next offset, first ID or '', then ID, time, message each
-- include: _epoch
-- include: _ids
-- include: _state
-- include: _page
-- include: _channel
if not open_state(false) or not links[ARGV[1]] then
  return false
end
if ARGV[2] ~= '' then
  deliver_to(ARGV[1], ARGV[2])
  write_link(ARGV[1])
end
local answer = log_state()
read_page(answer, ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
return answer
