-- Store or match one shard's share of a batch. KEYS: generations, counts. ARGV: side ('P' or 'L'), prefix of the buckets' keys, packed rows, length
-- of a generation, generations that a label may trail, then name and end of each generation that the rows point into.
-- Row layouts, flags, and which generations may hold the other side: stream/join.py.
-- Returns one status byte per row, and for each matched row, one behind the other, the stored flags and the other side's row.
local STORED, DUPLICATE, MATCHED, EXPIRED = '\0', '\1', '\2', '\3'
local ROW, SOURCE, ADDRESS = 30, 8, 13  -- bytes; the source is partition and offset, the start of a row
local is_prediction, prefix, rows = ARGV[1] == 'P', ARGV[2], ARGV[3]
local length, trail = tonumber(ARGV[4]), tonumber(ARGV[5])
local size = ADDRESS + ROW
local dropped, live = -math.huge, {}  -- live: name of each generation by its end
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  if held[i] == 'dropped' then dropped = tonumber(held[i + 1]) else live[tonumber(held[i + 1])] = held[i] end
end
local own, ending, gone, near, stored = {}, {}, {}, {}, {}
for i = 6, #ARGV, 2 do
  local ends = tonumber(ARGV[i + 1])
  own[#own + 1], ending[#own + 1], stored[#own + 1] = ARGV[i], ARGV[i + 1], 0
  gone[#own] = ends <= dropped
  if not gone[#own] and not live[ends] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    live[ends] = ARGV[i]
  end
end
for i = 6, #ARGV, 2 do  -- a label comes after its prediction, or a little before by the clocks of two machines
  local ends, found = tonumber(ARGV[i + 1]), {}
  for distance = -1, trail do
    local other = live[ends + (is_prediction and distance or -distance) * length]
    if other and distance ~= 0 then found[#found + 1] = other end
  end
  near[#near + 1] = found
end
local statuses, others = {}, {}
for at = 1, #rows, size do
  local bucket, id, generation, late = struct.unpack('<Hc8HB', rows, at)
  local row, name = string.sub(rows, at + ADDRESS, at + size - 1), own[generation + 1]
  local key, expired, fresh, value = prefix .. name .. ':' .. bucket, gone[generation + 1], false, false
  if is_prediction and not expired then  -- new as a rule, so it is stored before it is looked for
    fresh = redis.call('HSETNX', key, id, string.char(1 + 8 * late) .. row) == 1
  end
  if not fresh then value = redis.call('HGET', key, id) end  -- its own generation first: a replay finds itself, whoever else has its id
  for _, other in ipairs(value and {} or near[generation + 1]) do
    local elsewhere = prefix .. other .. ':' .. bucket
    value = redis.call('HGET', elsewhere, id)
    if value then
      if fresh then redis.call('HDEL', key, id) end
      key = elsewhere
      break
    end
  end
  local status = STORED
  if not value then
    if expired then
      status = EXPIRED
    else
      if not fresh then redis.call('HSET', key, id, '\2' .. row) end
      stored[generation + 1] = stored[generation + 1] + 1
    end
  else
    local flags = string.byte(value)
    local has_prediction, has_label, by_label = bit.band(flags, 1) > 0, bit.band(flags, 2) > 0, bit.band(flags, 4) > 0
    local source, other
    if is_prediction then
      if has_prediction then source = string.sub(value, 2, 1 + SOURCE) end
      if has_label then other = string.sub(value, has_prediction and 2 + ROW or 2) end
    else
      if has_label then
        local start = has_prediction and 2 + ROW or 2
        source = string.sub(value, start, start + SOURCE - 1)
      end
      if has_prediction then other = string.sub(value, 2, 1 + ROW) end
    end
    if not source then  -- the other side waits: this event completes the match
      flags = flags + (is_prediction and 1 + 8 * late or 2 + 4)
      redis.call('HSET', key, id, string.char(flags) .. (is_prediction and row .. other or other .. row))
      status = MATCHED
    elseif source ~= string.sub(row, 1, SOURCE) then
      status = DUPLICATE
    elseif other and by_label ~= is_prediction then  -- a replay of the event that completed the match
      status = MATCHED
    end
    if status == MATCHED then others[#others + 1] = string.char(flags) .. other end
  end
  statuses[#statuses + 1] = status
end
for i = 1, #own do
  if stored[i] > 0 then redis.call('HINCRBY', KEYS[2], 'rows:' .. ending[i], stored[i]) end
end
return {table.concat(statuses), table.concat(others)}
