#!lua flags=allow-oom
-- Leases messages: those whose lease ran out or whose retry fell due, then new ones. Each is given a new token.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, 2 most messages (may be 0), 3 most envelope bytes (one message always),
--          4 ms that a lease lasts ('': the ack deadline), 5 nonce for the tokens, 6 most messages to pass over,
--          7 most messages held back
-- RETURNS: a refusal as in `_subscription`; else settings as packed, now in ms, the next deadline or '', 1 when another
--          call may bring more at once, trimmed messages and expired ones passed over, 1 when the topic was created again since the last
--          pull, the leases' deadline, then ID, time, envelope, attempt, token a lease
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _leases
local FIRST_STEP, MAX_STEP = 8, 64

local sub, refusal = open('shared')
if not sub then
  return refusal
end
local held = redis.call('HMGET', KEYS[3], 'deadline_s', 'outstanding', 'order', 'held')
local now = now_ms()
local deadline = now + (tonumber(ARGV[4]) or held[1] * 1000)
local outstanding, order, held_back = tonumber(held[2]), held[3] ~= '' and string.sub(held[3], 2), tonumber(held[4])
local left, budget, scan = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
local pending = redis.call('ZCARD', KEYS[4]) - 1 + held_back
local step, bytes, trimmed, cursor, cursor_epoch = FIRST_STEP, 0, 0, sub.cursor, sub.cursor_epoch
local taken, full, expired = {}, left == 0, 0
local records, deadlines, removed = {}, {}, {}

local function fits(entry)
  full = full or #taken > 0 and bytes + #entry[2][4] > budget
  return not full
end

local function take(member, record, entry)
  record.attempt = record.attempt + 1
  record.token = int(record.attempt) .. '.' .. sub.generation .. '.' .. sub.epoch .. '.' .. ARGV[5]
  taken[#taken + 1] = { entry, record }
  records[#records + 1], records[#records + 2] = member, write_record(record)
  deadlines[#deadlines + 1], deadlines[#deadlines + 2] = int(deadline), member
  bytes, left = bytes + #entry[2][4], left - 1
  full = left == 0
end

-- Takes a step of messages that fell due; true when there may be others.
local function take_due()
  local members = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', int(now), 'LIMIT', 0, math.min(step, left))
  if #members == 0 then
    return false
  end
  removed = {}
  for index, text in ipairs(redis.call('HMGET', KEYS[5], unpack(members))) do
    local member, record = members[index], read_record(text)
    local id = record.epoch .. '-' .. int(tonumber(member))
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    if not entry or has_expired(entry, now) then
      scan, pending = scan - 1, pending - 1
      trimmed, expired = trimmed + (entry and 0 or 1), expired + (entry and 1 or 0)
      local fewer = finish(member, record, now)
      held_back = held_back - fewer
      if fewer > 0 then
        -- Another falls due by this, perhaps before the rest of the step.
        break
      end
    elseif fits(entry) then
      removed[#removed + 1] = member
      take(member, record, entry)
    else
      break
    end
  end
  if #removed > 0 then
    redis.call('ZREM', KEYS[4], unpack(removed))
  end
  flush_done()
  return not full and scan > 0
end

local function key_of(entry)
  if order then
    local _, attributes = cmsgpack.unpack_one(entry[2][4], 2)
    return attributes[order] and redis.sha1hex(attributes[order]) or ''
  end
  return ''
end

local function read_new(count)
  local command = { 'XREADGROUP', 'GROUP', ARGV[1], CONSUMER, 'COUNT', count, 'STREAMS', KEYS[1], '>' }
  local reply = redis.pcall(unpack(command))
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], group_id(cursor_epoch, cursor))
    reply = redis.call(unpack(command))
  end
  return reply and reply[1][2] or {}
end

-- What was read beyond the byte budget is not delivered yet.
local function put_back(entries, from)
  local ids = {}
  for index = from, #entries do
    ids[#ids + 1] = entries[index][1]
  end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], group_id(cursor_epoch, cursor))
end

-- Takes or holds back one new message.
local function admit(entry, epoch, offset)
  local member, key = padded(offset), key_of(entry)
  local record = { epoch = epoch, time = entry[2][2], attempt = 0, key = key, token = '' }
  pending = pending + 1
  if key == '' or take_turn(key, member) then
    take(member, record, entry)
  else
    records[#records + 1], records[#records + 2] = member, write_record(record)
    held_back, scan = held_back + 1, scan - 1
  end
end

-- Offsets have no holes: what is missing after the cursor was taken by retention.
local function pass_to(offset)
  if offset > cursor then
    trimmed, cursor, cursor_epoch = trimmed + offset - cursor, offset, epoch_of(offset)
    return true
  end
end

-- Takes a step of new messages; true when there may be others.
local function take_new()
  local room = math.min(step, left, outstanding - pending, ARGV[7] - held_back)
  if room <= 0 then
    return false
  end
  local entries = read_new(room)
  for index, entry in ipairs(entries) do
    local epoch, offset = string.match(entry[1], '^(%d+)%-(%d+)$')
    offset = tonumber(offset)
    pass_to(offset - 1)
    local has_gone = has_expired(entry, now)
    if not has_gone and not fits(entry) then
      put_back(entries, index)
      break
    end
    cursor, cursor_epoch = offset, epoch
    if has_gone then
      expired, scan = expired + 1, scan - 1
      forget(entry[1], padded(offset))
    else
      admit(entry, epoch, offset)
    end
  end
  flush_done()
  if #entries == 0 and pass_to(sub.next - 1) then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], group_id(cursor_epoch, cursor))
  end
  return #entries > 0 and not full and scan > 0
end

local function step_on(take_step)
  while take_step() do
    step = math.min(step * 2, MAX_STEP)
  end
end

local function write()
  for from = 1, #records, 1000 do
    redis.call('HSET', KEYS[5], unpack(records, from, math.min(from + 999, #records)))
  end
  for from = 1, #deadlines, 1000 do
    redis.call('ZADD', KEYS[4], unpack(deadlines, from, math.min(from + 999, #deadlines)))
  end
  local counts = redis.call('HMGET', KEYS[3], 'trimmed', 'delivered', 'bytes', 'expired')
  redis.call('HSET', KEYS[3], 'epoch', cursor_epoch, 'cursor', int(cursor), 'held', int(held_back), 'restarted', '0',
    'trimmed', int(counts[1] + trimmed), 'delivered', int(counts[2] + #taken), 'bytes', int(counts[3] + bytes),
    'expired', int(counts[4] + expired))
end

if not full then
  step_on(take_due)
  if not full and scan > 0 then
    step_on(take_new)
  end
  write()
end
local due = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
local more = due ~= 'inf' and tonumber(due) <= now
  or cursor < sub.next - 1 and pending < outstanding and held_back < tonumber(ARGV[7])
local answer = { sub.settings, now, due == 'inf' and '' or due, more and 1 or 0, trimmed, expired,
  sub.restarted, deadline }
for _, one in ipairs(taken) do
  local at, entry, record = #answer, one[1], one[2]
  answer[at + 1], answer[at + 2], answer[at + 3] = entry[1], entry[2][2], entry[2][4]
  answer[at + 4], answer[at + 5] = record.attempt, record.token
end
return answer
