#!lua flags=allow-oom
-- Tells how much was ever published to a topic, and where each day began.
-- KEYS:    1 log (stream), 2 meta (hash)
-- ARGV:    none
-- RETURNS: nil when there is no such topic; else next offset, envelope bytes ever written, the times of the last append
--          and of the one before, messages of the last append, then day number and first offset of each day, unordered
local DAY = '^day:(%d+)$'

local fields = redis.call('HGETALL', KEYS[2])
local meta, days = {}, {}
for index = 1, #fields, 2 do
  local day = string.match(fields[index], DAY)
  if day then
    days[#days + 1] = day
    days[#days + 1] = fields[index + 1]
  else
    meta[fields[index]] = fields[index + 1]
  end
end
if not meta.next then
  return false
end
local answer = { meta.next, meta.written or '0', meta.time, meta.previous or '0', meta.batch or '0' }
for _, value in ipairs(days) do
  answer[#answer + 1] = value
end
return answer
