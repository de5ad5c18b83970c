#!lua
-- Appends requests to a topic's log and announces them, in one atomic step (DESIGN 4 and 5).
-- Each request succeeds or fails alone and is appended whole or not at all. Out of memory refuses the call before it
-- begins (no allow-oom). A call that appends nothing still writes, so that a WAIT behind it covers a duplicate's first.
-- KEYS:    1 log (stream), 2 meta (hash), 3 once (hash)
-- ARGV:    1 live channel, 2 most envelope bytes to announce, 3 most once records, 4 their age ms; then each request:
--          envelope count, mode ('': not idempotent, 'k': key, 's': sequence), with a mode the id and the digest,
--          with 's' the sequence number, then the envelopes
-- RETURNS: nil when there is no such topic; else four integers a request, status (0 appended, 1 duplicate,
--          2 conflict, 3 stale sequence), epoch, first offset, time ms (zeros with 2 and 3)
-- include: _epoch
-- include: _once
local APPENDED, DUPLICATE, CONFLICT, STALE = 0, 1, 2, 3
local BATCH = 0

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'next', 'replid', 'time', 'bytes', 'once')
if not meta[2] then
  return false
end
local epoch, next_offset = current_epoch(meta[1], meta[2], meta[3])
local first_offset = next_offset
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local time = math.max(now, tonumber(meta[4]))
local time_text = int(time)
local envelopes, sizes, bytes = {}, {}, 0

local function append(first, count)
  local prefix = epoch .. '-'
  for index = first, first + count - 1 do
    local envelope = ARGV[index]
    redis.call('XADD', KEYS[1], prefix .. int(next_offset), 't', time_text, 'm', envelope)
    next_offset = next_offset + 1
    envelopes[#envelopes + 1], sizes[#sizes + 1] = envelope, #envelope
    bytes = bytes + #envelope
  end
end

-- Reads ARGV; collects the once fields that the requests name.
local function parse_requests()
  local requests, fields, at = {}, {}, 5
  while at <= #ARGV do
    local request = { count = tonumber(ARGV[at]), mode = ARGV[at + 1] }
    at = at + 2
    if request.mode ~= '' then
      request.id, request.digest = ARGV[at], ARGV[at + 1]
      at = at + 2
      if request.mode == 'k' then
        request.record = 'k' .. request.id
      else
        request.sequence = tonumber(ARGV[at])
        at = at + 1
        request.ring = 'h' .. request.id
        request.record = 'p' .. request.id .. '#' .. request.sequence % WINDOW
        fields[#fields + 1] = request.ring
      end
      fields[#fields + 1] = request.record
    end
    request.first = at
    at = at + request.count
    requests[#requests + 1] = request
  end
  return requests, fields
end

-- What became of an earlier request with the same key or sequence: status, epoch, offset, time; nil when it is new.
local function earlier(request)
  local record = held[request.record]
  if request.sequence then
    local ring = held[request.ring]
    if not ring then
      return nil
    end
    if request.sequence <= tonumber(string.match(ring, '^%d+:(%d+)')) - WINDOW then
      return STALE, 0, 0, 0
    end
    local sequence, rest = string.match(record or '', '^(%d+):(.*)$')
    record = tonumber(sequence) == request.sequence and rest
  end
  if not record then
    return nil
  end
  local at_epoch, offset, count, at_time, digest = string.match(record, '^(%d+):(%d+):(%d+):(%d+):(.*)$')
  if digest ~= request.digest or tonumber(count) ~= request.count then
    return CONFLICT, 0, 0, 0
  end
  return DUPLICATE, tonumber(at_epoch), tonumber(offset), tonumber(at_time)
end

local function remember(request, offset)
  local record = table.concat({ epoch, int(offset), request.count, time_text, request.digest }, ':')
  if not request.sequence then
    queue.records = queue.records + 1
    enqueue(now, request.record)
    set_once(request.record, record)
    return
  end
  local lowest, highest, used = request.sequence, request.sequence, 0
  local ring = held[request.ring]
  if ring then
    local low, high, slots = string.match(ring, '^(%d+):(%d+):%d+:(%d+)$')
    lowest, highest, used = math.min(lowest, tonumber(low)), math.max(highest, tonumber(high)), tonumber(slots)
  else
    enqueue(now, request.ring)
  end
  if not held[request.record] then
    used = used + 1
    queue.records = queue.records + 1
  end
  set_once(request.ring, table.concat({ int(lowest), int(highest), int(now), used }, ':'))
  set_once(request.record, int(request.sequence) .. ':' .. record)
end

local function announce()
  local header = { BATCH, tonumber(meta[1]), first_offset - 1, tonumber(epoch), first_offset, time, sizes }
  local bodies = ''
  if bytes > tonumber(ARGV[2]) then
    header[7] = #sizes
  else
    bodies = table.concat(envelopes)
  end
  local packed = cmsgpack.pack(header)
  redis.call('SPUBLISH', ARGV[1], struct.pack('>I4', #packed) .. packed .. bodies)
end

local requests, fields = parse_requests()
local keyed = #fields > 0
if keyed then
  open_queue(meta[6])
  drop_old_once(now, tonumber(ARGV[4]))
  load_once(fields)
end
local answer = {}
for _, request in ipairs(requests) do
  local status, at_epoch, offset, at_time
  if request.record then
    status, at_epoch, offset, at_time = earlier(request)
  end
  if not status then
    status, at_epoch, offset, at_time = APPENDED, tonumber(epoch), next_offset, time
    append(request.first, request.count)
    if request.record then
      remember(request, offset)
    end
  end
  local at = #answer
  answer[at + 1], answer[at + 2], answer[at + 3], answer[at + 4] = status, at_epoch, offset, at_time
end
if keyed then
  flush_once()
  drop_excess_once(tonumber(ARGV[3]))
  redis.call('HSET', KEYS[2], 'once', queue_text())
end
redis.call('HSET', KEYS[2], 'next', int(next_offset), 'time', time_text, 'bytes', int(meta[5] + bytes))
if bytes > 0 then
  announce()
end
return answer
