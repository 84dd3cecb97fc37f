-- Store or match one shard's share of a batch. KEYS: generations, counts. ARGV: side ('P' or 'L'), prefix of the buckets' keys, packed rows, length
-- of a generation, generations that a label may trail, then name and end of each generation that the rows point into.
-- Row layouts, flags, and which generations may hold the other side: stream/join.py. Rows of one bucket stand together, in their order.
-- Returns one status byte per row, and for each matched row, one behind the other, the stored flags and the other side's row.
local STORED, DUPLICATE, MATCHED, EXPIRED = '\0', '\1', '\2', '\3'
local ADDRESS, ROW, SOURCE = '<c8HH', 12, 13  -- a packed row: its address, then flags and row as it waits, which start with its source
local PREDICTION, LABEL = 34, 30  -- bytes of a row; once met, flags, the row of the first and the source of the second remain
local WHOLE, NO_VALUE = 61, '\0\0\192\127'  -- what older versions wrote: both rows whole; predictions without their value, which is NaN then
local RUN = 64  -- rows of one command: they must fit Lua's stack, and are compared with each other
local call, address, sub, byte, char = redis.call, struct.unpack, string.sub, string.byte, string.char
local is_prediction, prefix, rows = ARGV[1] == 'P', ARGV[2], ARGV[3]
local length, trail = tonumber(ARGV[4]), tonumber(ARGV[5])
local mine, theirs, by_mine = is_prediction and 1 or 2, is_prediction and 2 or 1, is_prediction and 0 or 4
local RECORD = SOURCE + (is_prediction and PREDICTION or LABEL)
local dropped, live = -math.huge, {}  -- live: name of each generation by its end
local held = call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  if held[i] == 'dropped' then dropped = tonumber(held[i + 1]) else live[tonumber(held[i + 1])] = held[i] end
end
local own, ending, gone, near, stored = {}, {}, {}, {}, {}
for i = 6, #ARGV, 2 do
  local ends = tonumber(ARGV[i + 1])
  own[#own + 1], ending[#own + 1], stored[#own + 1] = prefix .. ARGV[i] .. ':', ARGV[i + 1], 0
  gone[#own] = ends <= dropped
  if not gone[#own] and not live[ends] then
    call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    live[ends] = ARGV[i]
  end
end
for i = 6, #ARGV, 2 do  -- a label comes after its prediction, or a little before by the clocks of two machines
  local ends, found = tonumber(ARGV[i + 1]), {}
  for distance = -1, trail do
    local other = live[ends + (is_prediction and distance or -distance) * length]
    if other and distance ~= 0 then found[#found + 1] = prefix .. other .. ':' end
  end
  near[#near + 1] = found
end
-- Commands and new strings are what costs here, so a row becomes one only where it must: `at` is where it starts.
local statuses, judged, others, n_others = {}, 0, {}, 0
local function answer(flags, other)
  others[n_others + 1], others[n_others + 2] = flags, other
  n_others = n_others + 2
  return MATCHED
end
-- The prediction in a row, up to where its label's part starts.
local function prediction(value, label)
  local row = sub(value, 2, label - 1)
  return #row < PREDICTION and row .. NO_VALUE or row
end
-- What a row comes to that finds its id held: its status, and what to hold from now on if that changes.
local function meet(value, at)
  local flags, source = byte(value), sub(rows, at + SOURCE, at + SOURCE + 7)
  local sides = flags % 4
  if sides == theirs then  -- the other side waits: this event completes the match
    local met, other = char(flags + byte(rows, at + ROW) + by_mine), is_prediction and sub(value, 2) or prediction(value, #value + 1)
    return answer(met, other), is_prediction and met .. source .. other or met .. other .. source
  end
  local by = flags % 8 - sides  -- 4: the label completed it
  local label = (sides == 2 and 2) or (#value == WHOLE and 32) or (by == 0 and 10) or #value - 7
  local start = is_prediction and 2 or label
  if sub(value, start, start + 7) ~= source then return DUPLICATE end
  if sides == mine or by ~= by_mine then return STORED end
  -- a replay of the event that completed the match
  return answer(char(flags), is_prediction and sub(value, label, label + LABEL - 1) or prediction(value, label))
end
local ids, ats, missing, places, written, where = {}, {}, {}, {}, {}, {}
-- Store or match `n` rows of one bucket and generation; no id comes twice, so that all are looked up, and then written, at once.
local function run(n, bucket, generation)
  local key, expired, fresh, found = own[generation] .. bucket, gone[generation], false, nil
  if n == 1 and is_prediction and not expired then  -- new as a rule, so it is stored before it is looked for
    fresh = call('HSETNX', key, ids[1], sub(rows, ats[1] + ROW, ats[1] + RECORD - 1)) == 1
    found = {not fresh and call('HGET', key, ids[1])}
  else
    found = call('HMGET', key, unpack(ids, 1, n))  -- their own generation first: a replay finds itself, whoever else has its id
  end
  for i = 1, n do where[i] = key end
  local others_near = near[generation]
  for i = 1, #others_near do
    local absent = 0
    for j = 1, n do
      if not found[j] then
        absent = absent + 1
        missing[absent], places[absent] = ids[j], j
      end
    end
    if absent == 0 then break end
    local elsewhere = others_near[i] .. bucket
    local there = call('HMGET', elsewhere, unpack(missing, 1, absent))
    for j = 1, absent do
      if there[j] then found[places[j]], where[places[j]] = there[j], elsewhere end
    end
  end
  local changes = 0
  for i = 1, n do
    local held, status, value = found[i], STORED, nil
    if held then
      if fresh then call('HDEL', key, ids[i]) end  -- it stands in another generation
      status, value = meet(held, ats[i])
    elseif expired then
      status = EXPIRED
    else
      stored[generation] = stored[generation] + 1
      value = not fresh and sub(rows, ats[i] + ROW, ats[i] + RECORD - 1)
    end
    if value and where[i] == key then
      written[changes + 1], written[changes + 2] = ids[i], value
      changes = changes + 2
    elseif value then
      call('HSET', where[i], ids[i], value)
    end
    statuses[judged + i] = status
  end
  judged = judged + n
  if changes > 0 then call('HSET', key, unpack(written, 1, changes)) end
end
local n, bucket, generation = 0, nil, nil
for at = 1, #rows, RECORD do
  local id, place, index = address(ADDRESS, rows, at)
  local ends = n == RUN or place ~= bucket or index + 1 ~= generation
  for i = 1, ends and 0 or n do ends = ends or ids[i] == id end
  if ends and n > 0 then
    run(n, bucket, generation)
    n = 0
  end
  n, bucket, generation = n + 1, place, index + 1
  ids[n], ats[n] = id, at
end
if n > 0 then run(n, bucket, generation) end
for i = 1, #own do
  if stored[i] > 0 then call('HINCRBY', KEYS[2], 'rows:' .. ending[i], stored[i]) end
end
return {table.concat(statuses), table.concat(others)}
