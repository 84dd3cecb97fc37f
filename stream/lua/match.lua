-- Store or match one shard's share of a batch. KEYS: generations, counts. ARGV: side ('P' or 'L'), prefix of the buckets' keys, packed rows, length
-- of a generation, generations that a label may trail, bytes of the scores by class, then name and end of each generation that the rows point into.
-- Row layouts, flags, and which generations may hold the other side: stream/join.py. Rows of one bucket stand together, in their order.
-- Returns one status byte per row; for each that matched or corrected, one behind the other, the stored flags and the other side's row; and for
-- each that corrected the label that it replaced, for each prediction whose waiting label has been corrected all that replaced it: a number of them, and they;
-- and for each label that matched or corrected its prediction's scores by class.
local STORED, DUPLICATE, MATCHED, EXPIRED, CORRECTED, REPLACED = '\0', '\1', '\2', '\3', '\4', '\5'
local BY_LABEL, REVISED = 4, 32
local ADDRESS, ROW, SOURCE = '<c8HH', 12, 13  -- a packed row: its address, then flags and row as it waits, which start with its source
local PREDICTION, LABEL, CLOSED = 32, 28, 8  -- bytes of a row, and of where time stood; once met, flags and both rows remain, the prediction's first
local RUN = 64  -- rows of one command: they must fit Lua's stack, and are compared with each other
local call, unpacked, sub, byte, char = redis.call, struct.unpack, string.sub, string.byte, string.char
local is_prediction, prefix, rows = ARGV[1] == 'P', ARGV[2], ARGV[3]
local length, trail, SCORES = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local LAST = SOURCE + (is_prediction and PREDICTION or LABEL) - 1  -- offset of the last byte of a row
local SCORED = LAST + 1 + (is_prediction and CLOSED or 0)  -- offset of the scores by class of a prediction
local RECORD = SCORED + (is_prediction and SCORES or 0)
local dropped, live = -math.huge, {}  -- live: name of each generation by its end
local held = call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  if held[i] == 'dropped' then dropped = tonumber(held[i + 1]) else live[tonumber(held[i + 1])] = held[i] end
end
local own, ending, gone, near, stored = {}, {}, {}, {}, {}
for i = 7, #ARGV, 2 do
  local ends = tonumber(ARGV[i + 1])
  own[#own + 1], ending[#own + 1], stored[#own + 1] = prefix .. ARGV[i] .. ':', ARGV[i + 1], 0
  gone[#own] = ends <= dropped
  if not gone[#own] and not live[ends] then
    call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    live[ends] = ARGV[i]
  end
end
for i = 7, #ARGV, 2 do  -- a label comes after its prediction, or a little before by the clocks of two machines
  local ends, found = tonumber(ARGV[i + 1]), {}
  for distance = -1, trail do
    local other = live[ends + (is_prediction and distance or -distance) * length]
    if other and distance ~= 0 then found[#found + 1] = prefix .. other .. ':' end
  end
  near[#near + 1] = found
end
-- Commands and new strings are what costs here, so a row becomes one only where it must: `at` is where it starts.
local statuses, judged, others, n_others, before = {}, 0, {}, 0, {}
local function answer(status, flags, other)
  others[n_others + 1], others[n_others + 2] = flags, other
  n_others = n_others + 2
  return status
end
-- Scores by class stand beside the bucket, where there are any, cut after the last that is not 0.
local scores, NO_SCORES = {}, string.rep('\0', SCORES)
local function keep_scores(key, id, at)
  local found = string.match(sub(rows, at + SCORED, at + RECORD - 1), '^.*%Z')
  if found then call('HSET', key .. ':scores', id, found) end
end
local function answer_scores(key, id)
  local found = call('HGET', key .. ':scores', id)
  scores[#scores + 1] = found and sub(found .. NO_SCORES, 1, SCORES) or NO_SCORES
end
-- The label, late by what had closed when its prediction came.
local function met_at(label, closed)
  local behind, low, high = unpacked('<i4I4I2', label, 19)
  local passed = math.min(closed - (low + high * 2 ^ 32), 2 ^ 31 - 1)
  return passed > behind and sub(label, 1, 18) .. struct.pack('<i4', passed) .. sub(label, 23) or label
end
local function time_of(label)
  local low, high = unpacked('<I4I2', label, 23)
  return low + high * 2 ^ 32
end
-- The time of a label, and which event it is within its partition.
local function time_and_offset(label)
  local offset, offset_high = unpacked('<I4I2', label)
  local time, time_high = unpacked('<I4I2', label, 23)
  return time + time_high * 2 ^ 32, offset + offset_high * 2 ^ 32
end
-- The labels of an id after the first that were newer when they came: EARLY ones corrected it before its prediction was there, MET ones after, SAME
-- ones said what had been said.
local EARLY, MET, SAME = 48, 49, 50
local function later_labels(key, id)
  local found, held = {}, call('HGET', key .. ':corrected', id)
  for i = 1, held and #held or 0, 1 + LABEL do found[#found + 1] = {kind = byte(held, i), label = sub(held, i + 1, i + LABEL)} end
  return found
end
local function keep(key, id, found)
  local parts = {}
  for i = 1, #found do parts[#parts + 1] = char(found[i].kind) .. found[i].label end
  call('HSET', key .. ':corrected', id, table.concat(parts))
end
-- What a prediction comes to that finds its id held, and what to hold from now on if that changes.
local function prediction_meets(value, at, key, id)
  local flags, row = byte(value), sub(rows, at + SOURCE, at + LAST)
  if flags % 4 ~= 2 and sub(value, 2, 9) ~= sub(row, 1, 8) then return DUPLICATE end
  if flags % 4 == 1 or flags % 8 >= BY_LABEL then return STORED end
  local label, found, early = sub(value, -LABEL), flags >= REVISED and later_labels(key, id) or {}, {}
  for i = 1, #found do early[#early + 1] = found[i].kind == EARLY and found[i] or nil end
  local replay, first = flags % 4 == 3, label
  if not replay then  -- the label that stands was not counted before now
    local closed = unpacked('<i8', rows, at + LAST + 1)
    if #early > 0 then
      early[#early].label = met_at(early[#early].label, closed)
      keep(key, id, found)
    else
      label = met_at(label, closed)
      first = label
    end
  end
  if flags >= REVISED then
    before[#before + 1] = char(#early)
    for i = 1, #early do before[#before + 1] = early[i].label end
  end
  if replay then return answer(MATCHED, char(flags), first) end
  local met = char(flags + byte(rows, at + ROW))
  return answer(MATCHED, met, first), met .. row .. label
end
-- The same of a label.
local function label_meets(value, at, key, id)
  local flags, row = byte(value), sub(rows, at + SOURCE, at + LAST)
  local sides, prediction = flags % 4, sub(value, 2, 1 + PREDICTION)
  if sides == 1 then  -- the prediction waits
    local met = char(flags + byte(rows, at + ROW) + BY_LABEL)
    return answer(MATCHED, met, prediction), met .. sub(value, 2) .. row
  end
  local source, current = sub(row, 1, 8), sub(value, -LABEL)
  if sub(current, 1, 8) == source then  -- a replay
    return flags % 8 < BY_LABEL and STORED or answer(MATCHED, char(flags), prediction)
  end
  local function corrects(kind, old)
    if kind == EARLY then return REPLACED end
    before[#before + 1] = '\1' .. old
    return answer(CORRECTED, char(flags), prediction)
  end
  local found, newest = flags >= REVISED and later_labels(key, id) or {}, current
  for i = 1, #found do
    newest = found[i].label
    if sub(newest, 1, 8) == source then return found[i].kind == SAME and DUPLICATE or corrects(found[i].kind, current) end
    current = found[i].kind == SAME and current or newest
  end
  local time, offset = time_and_offset(row)
  local newest_time, newest_offset = time_and_offset(newest)
  local in_order = time == newest_time and sub(row, 7, 8) == sub(newest, 7, 8) and offset > newest_offset  -- of one partition
  local same = sub(row, 9, 18) == sub(current, 9, 18)
  if not (time > newest_time or in_order and not same) then return DUPLICATE end
  local kind = same and SAME or sides == 3 and MET or EARLY
  found[#found + 1] = {kind = kind, label = row}
  keep(key, id, found)
  flags = flags % REVISED + REVISED
  return same and DUPLICATE or corrects(kind, current), char(flags) .. sub(value, 2)
end
local meet = is_prediction and prediction_meets or label_meets
local ids, ats, missing, places, written, where = {}, {}, {}, {}, {}, {}
-- Store or match `n` rows of one bucket and generation; no id comes twice, so that all are looked up, and then written, at once.
local function run(n, bucket, generation)
  local key, expired, fresh, found = own[generation] .. bucket, gone[generation], false, nil
  if n == 1 and is_prediction and not expired then  -- new as a rule, so it is stored before it is looked for
    fresh = call('HSETNX', key, ids[1], sub(rows, ats[1] + ROW, ats[1] + LAST)) == 1
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
      status, value = meet(held, ats[i], where[i], ids[i])
    elseif expired then
      status = EXPIRED
    else
      stored[generation] = stored[generation] + 1
      value = not fresh and sub(rows, ats[i] + ROW, ats[i] + LAST)
    end
    if SCORES > 0 and is_prediction and (value or fresh and not held) then keep_scores(where[i], ids[i], ats[i]) end
    if SCORES > 0 and not is_prediction and (status == MATCHED or status == CORRECTED) then answer_scores(where[i], ids[i]) end
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
  local id, place, index = unpacked(ADDRESS, rows, at)
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
return {table.concat(statuses), table.concat(others), table.concat(before), table.concat(scores)}
