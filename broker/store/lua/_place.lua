-- Included by scripts that are given a place. Does what `LogState.end_of` of broker/positions.py is asked for.
-- KEYS:    2 meta
-- ARGV:    none of its own
-- RETURNS: nothing, it defines a function

-- Tells whether the chain holds this epoch, and the offset is of it or right before its first.
local function is_place(epoch, offset, next_offset)
  local first
  for link, start in string.gmatch(redis.call('HGET', KEYS[2], 'chain'), '(%d+):(%d+)') do
    if first then
      next_offset = tonumber(start)
      break
    end
    first = link == epoch and tonumber(start)
  end
  return first and first - 1 <= offset and offset < next_offset
end
