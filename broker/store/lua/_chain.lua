-- Included where an epoch begins. Needs `_epoch` for `int`. Does what `extend_chain` of broker/positions.py does.
-- KEYS:    none
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions
local SPARE_LINKS = 64

-- Keeps the epochs that have entries in the log, and SPARE_LINKS others.
local function extend_chain(chain, epoch, next_offset, first_offset)
  local links = {}
  for link, first in string.gmatch(chain, '(%d+:(%d+))') do
    links[#links + 1] = { text = link, first = tonumber(first) }
  end
  local kept, spare, following = {}, SPARE_LINKS, next_offset
  for index = #links, 1, -1 do
    local link = links[index]
    local in_log = following - 1 >= math.max(link.first, first_offset)
    if in_log or spare > 0 then
      kept[#kept + 1] = link.text
    end
    if not in_log then
      spare = spare - 1
    end
    following = link.first
  end
  local ascending = {}
  for index = #kept, 1, -1 do
    ascending[#ascending + 1] = kept[index]
  end
  ascending[#ascending + 1] = epoch .. ':' .. int(next_offset)
  return table.concat(ascending, ',')
end
