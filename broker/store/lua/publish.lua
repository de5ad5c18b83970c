#!lua
-- Appends requests to a topic's log and announces them, in one atomic step (DESIGN 4 and 5).
-- Each request succeeds or fails alone and is appended whole or not at all. Out of memory refuses the call before it
-- begins (no allow-oom). A call that appends nothing still writes, so that a WAIT behind it covers a duplicate's first.
-- KEYS:    1 log (stream), 2 meta (hash), 3 once (hash)
-- ARGV:    1 live channel, 2 most envelope bytes to announce, 3 most once records, 4 their age ms, 5 number of once
--          fields, then these fields (one for a request with a key: its record; two for one with a sequence: the
--          publisher's, its record), then each request: envelope count, mode ('k' or 's' where it is idempotent by key
--          or by sequence, then any of 'h': refused where nobody hears the topic, 'r': one is retained, 't': timed), with
--          'k' or 's' the digest, with 's' the sequence number, with 'r' the number of the envelope that becomes the
--          topic's snapshot, with 't' the ms that each message lives ('0': for ever), then the envelopes
-- RETURNS: nil when there is no such topic; else four integers a request, status (0 appended, 1 duplicate,
--          2 conflict, 3 stale sequence, 4 nobody hears it), epoch, first offset, time ms (zeros from 2 on)
-- include: _epoch
-- include: _once
local APPENDED, DUPLICATE, CONFLICT, STALE, UNHEARD = 0, 1, 2, 3, 4
local BATCH = 0
local DAY_MS, MAX_DAYS = 86400000, 4000

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'next', 'replid', 'time', 'bytes', 'once', 'written')
if not meta[2] then
  return false
end
local epoch, next_offset = current_epoch(meta[1], meta[2], meta[3])
local epoch_number, first_offset = tonumber(epoch), next_offset
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local time = math.max(now, tonumber(meta[4]))
local time_text = int(time)
local envelopes, sizes, bytes = {}, {}, 0
local held, rings = {}, {}
local heard, snapshot

local function append(first, count, lives)
  for index = first, first + count - 1 do
    local envelope, id = ARGV[index], epoch .. '-' .. int(next_offset)
    local life = lives and tonumber(ARGV[index - count]) or 0
    if life > 0 then
      redis.call('XADD', KEYS[1], id, 't', time_text, 'm', envelope, 'x', int(time + life))
    else
      redis.call('XADD', KEYS[1], id, 't', time_text, 'm', envelope)
    end
    next_offset = next_offset + 1
    local at = #sizes + 1
    envelopes[at], sizes[at] = envelope, #envelope
    bytes = bytes + #envelope
  end
end

-- Whether any node follows the topic live, or any subscription keeps a place in it. Told once a call.
local function is_heard()
  if heard == nil then
    heard = redis.call('PUBSUB', 'SHARDNUMSUB', ARGV[1])[2] > 0 or #redis.call('XINFO', 'GROUPS', KEYS[1]) > 0
  end
  return heard
end

-- A publisher's lowest and highest sequence and slots in use, false when it is new.
local function ring_of(field)
  if rings[field] == nil then
    rings[field] = held[field] and { struct.unpack(RING, held[field]) }
  end
  return rings[field]
end

local function verdict(record, digest, count)
  local at_epoch, offset, held_count, at_time, held_digest = string.match(record, '^(%d+):(%d+):(%d+):(%d+):(.*)$')
  if held_digest ~= digest or held_count ~= count then
    return CONFLICT, 0, 0, 0
  end
  return DUPLICATE, tonumber(at_epoch), tonumber(offset), tonumber(at_time)
end

-- What became of an earlier request with the same sequence: status, epoch, offset, time; nil when it is new.
local function earlier_sequence(ring, field, sequence, digest, count)
  if not ring or sequence > ring[2] then
    return nil
  end
  if sequence <= ring[2] - WINDOW then
    return STALE, 0, 0, 0
  end
  local held_sequence, record = string.match(held[field] or '', '^(%d+):(.*)$')
  if tonumber(held_sequence) == sequence then
    return verdict(record, digest, count)
  end
end

local function remember_key(field, record)
  queue.records, queue.changed = queue.records + 1, true
  held[field] = record
  set_once(field, record)
  enqueue(now, field)
end

local function remember_sequence(ring_field, field, sequence, sequence_text, record)
  local ring = ring_of(ring_field)
  if not ring then
    ring = { sequence, sequence, now, 0 }
    rings[ring_field] = ring
    enqueue(now, ring_field)
  end
  if not held[field] then
    ring[4] = ring[4] + 1
    queue.records, queue.changed = queue.records + 1, true
  end
  ring[1], ring[2], ring[3] = math.min(ring[1], sequence), math.max(ring[2], sequence), now
  ring.changed = true
  held[field] = sequence_text .. ':' .. record
  set_once(field, held[field])
end

local fields = tonumber(ARGV[5])
if fields > 0 then
  open_queue(meta[6])
  if queue.head < queue.tail and queue.oldest <= now - ARGV[4] then
    forget(math.huge, now - ARGV[4])
  end
  for from = 6, fields + 5, CHUNK do
    local last = math.min(from + CHUNK - 1, fields + 5)
    for index, value in ipairs(redis.call('HMGET', KEYS[3], unpack(ARGV, from, last))) do
      held[ARGV[from + index - 1]] = value
    end
  end
end
local answer, field, at = {}, 6, fields + 6
while at <= #ARGV do
  local count, mode = ARGV[at], ARGV[at + 1]
  local once, flags = string.match(mode, '^([ks]?)(.*)$')
  local timed = string.find(flags, 't', 1, true)
  local digest, sequence, sequence_text, ring_field, retained, status, at_epoch, offset, at_time
  at = at + 2
  if once == 'k' then
    digest, at = ARGV[at], at + 1
    if held[ARGV[field]] then
      status, at_epoch, offset, at_time = verdict(held[ARGV[field]], digest, count)
    end
  elseif once == 's' then
    digest, sequence_text, at = ARGV[at], ARGV[at + 1], at + 2
    sequence = tonumber(sequence_text)
    ring_field, field = ARGV[field], field + 1
    status, at_epoch, offset, at_time = earlier_sequence(ring_of(ring_field), ARGV[field], sequence, digest, count)
  end
  if string.find(flags, 'r', 1, true) then
    retained, at = tonumber(ARGV[at]), at + 1
  end
  if timed then
    at = at + count
  end
  if not status and string.find(flags, 'h', 1, true) and not is_heard() then
    status, at_epoch, offset, at_time = UNHEARD, 0, 0, 0
  end
  if not status then
    status, at_epoch, offset, at_time = APPENDED, epoch_number, next_offset, time
    append(at, count, timed)
    if retained then
      snapshot = { epoch .. '-' .. int(offset + retained), ARGV[at + retained] }
    end
    if digest then
      local record = epoch .. ':' .. int(offset) .. ':' .. count .. ':' .. time_text .. ':' .. digest
      if sequence then
        remember_sequence(ring_field, ARGV[field], sequence, sequence_text, record)
      else
        remember_key(ARGV[field], record)
      end
    end
  end
  if digest then
    field = field + 1
  end
  at = at + count
  local to = #answer
  answer[to + 1], answer[to + 2], answer[to + 3], answer[to + 4] = status, at_epoch, offset, at_time
end
local once = meta[6] or ''
if fields > 0 then
  for name, ring in pairs(rings) do
    if ring and ring.changed then
      set_once(name, struct.pack(RING, ring[1], ring[2], ring[3], ring[4]))
    end
  end
  flush_once()
  if queue.records > tonumber(ARGV[3]) then
    forget(tonumber(ARGV[3]), -1)
  end
  once = queue.changed and queue_text() or once
end
-- A call that appends nothing is no publish: it moves no time.
redis.call('HSET', KEYS[2], 'next', int(next_offset), 'time', #sizes > 0 and time_text or meta[4],
  'bytes', int(meta[5] + bytes), 'once', once)
if bytes > 0 then
  -- What `traffic` tells: a day's first offset is written once, so that days are counted without counting.
  local day = math.floor(time / DAY_MS)
  if day ~= math.floor(meta[4] / DAY_MS) then
    redis.call('HSET', KEYS[2], 'day:' .. int(day), int(first_offset))
    redis.call('HDEL', KEYS[2], 'day:' .. int(day - MAX_DAYS))
  end
  redis.call('HSET', KEYS[2], 'written', int((meta[7] or 0) + bytes), 'previous', meta[4], 'batch', int(#sizes))
  if snapshot then
    redis.call('HSET', KEYS[2], 'kept', snapshot[1], 'kept_time', time_text, 'snapshot', snapshot[2])
  end
  local header = { BATCH, tonumber(meta[1]), first_offset - 1, epoch_number, first_offset, time, sizes }
  local bodies = ''
  if bytes > tonumber(ARGV[2]) then
    header[7] = #sizes
  else
    bodies = table.concat(envelopes)
  end
  local packed = cmsgpack.pack(header)
  redis.call('SPUBLISH', ARGV[1], struct.pack('>I4', #packed) .. packed .. bodies)
end
return answer
