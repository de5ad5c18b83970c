-- Included by scripts that read entries in order.
-- KEYS:    1 log
-- ARGV:    none of its own
-- RETURNS: nothing, it defines a function
-- Entries are read in small steps: what a step reads beyond the byte budget is thrown away.
local FIRST_STEP, MAX_STEP = 4, 32

-- Adds ID, time and envelope of each entry from `start` on to the answer, one always, but for those that `skips` says.
-- Answers how many and their bytes, and how many were skipped.
local function read_page(answer, start, left, budget, skips)
  local taken, bytes, skipped, step = 0, 0, 0, FIRST_STEP
  while left > 0 do
    local asked = math.min(step, left)
    local found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', asked)
    for _, entry in ipairs(found) do
      if skips and skips(entry) then
        skipped = skipped + 1
      else
        local size = #entry[2][4]
        if taken > 0 and bytes + size > budget then
          return taken, bytes, skipped
        end
        local at = #answer
        answer[at + 1], answer[at + 2], answer[at + 3] = entry[1], entry[2][2], entry[2][4]
        taken, bytes, left = taken + 1, bytes + size, left - 1
      end
      start = '(' .. entry[1]
    end
    if #found < asked then
      return taken, bytes, skipped
    end
    step = math.min(step * 2, MAX_STEP)
  end
  return taken, bytes, skipped
end
