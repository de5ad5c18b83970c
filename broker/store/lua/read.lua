#!lua flags=allow-oom
-- Reads a log's state and a page of entries, on the primary: a replica refuses it, because it may write (a new epoch).
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    1 ID to start at ('-' for the oldest), 2 most entries (may be 0), 3 most envelope bytes (one entry always)
-- RETURNS: nil when there is no such topic; else chain, next offset, first ID or '', then ID, time, envelope an entry
-- include: _epoch
-- include: _ids
-- include: _state
-- Entries are read in small steps: what a step reads beyond the byte budget is thrown away.
local FIRST_STEP, MAX_STEP = 4, 32

local answer = log_state()
if not answer then
  return false
end
local start, left, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local taken, step = 0, FIRST_STEP
while left > 0 do
  local asked = math.min(step, left)
  local found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', asked)
  for _, entry in ipairs(found) do
    budget = budget - #entry[2][4]
    if taken > 0 and budget < 0 then
      return answer
    end
    local at = #answer
    answer[at + 1], answer[at + 2], answer[at + 3] = entry[1], entry[2][2], entry[2][4]
    taken, start = taken + 1, '(' .. entry[1]
  end
  if #found < asked then
    return answer
  end
  left, step = left - asked, math.min(step * 2, MAX_STEP)
end
return answer
