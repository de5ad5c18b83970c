#!lua flags=allow-oom
-- Finds the first retained entry published at or after a time, by halving: publish times never decrease in a log.
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    1 time ms
-- RETURNS: nil when there is no such topic; else chain, next offset, first ID or '', and the offset found (the next
--          offset when all are older)
-- include: _epoch
-- include: _ids
-- include: _state
local answer = log_state()
if not answer then
  return false
end
local wanted = tonumber(ARGV[1])
local firsts, epochs = {}, {}
for epoch, first in string.gmatch(answer[1], '(%d+):(%d+)') do
  firsts[#firsts + 1], epochs[#epochs + 1] = tonumber(first), epoch
end

local function time_of(offset)
  local link = #firsts
  while link > 1 and firsts[link] > offset do
    link = link - 1
  end
  local entry = redis.call('XRANGE', KEYS[1], epochs[link] .. '-' .. int(offset), '+', 'COUNT', 1)[1]
  return entry and tonumber(entry[2][2]) or math.huge
end

local low, high, _ = answer[2], answer[2], nil
if answer[3] ~= '' then
  _, low = split_id(answer[3])
end
while low < high do
  local middle = math.floor((low + high) / 2)
  if time_of(middle) >= wanted then
    high = middle
  else
    low = middle + 1
  end
end
answer[4] = low
return answer
