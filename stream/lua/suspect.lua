-- Note a message that a worker ends over. KEYS: unit. ARGV: epoch, offset. Returns how many workers ended over it, this one included, or 0
-- (somebody else owns the unit: nothing was written). Those that are behind the unit's offset are forgotten.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'suspects', 'next_offset')
if held[1] ~= ARGV[1] then return 0 end
local kills, kept = 1, {}
for offset, times in string.gmatch(held[2] or '', '(%d+) (%d+)') do
  if offset == ARGV[2] then
    kills = tonumber(times) + 1
  elseif tonumber(offset) >= tonumber(held[3] or '0') then
    kept[#kept + 1] = offset .. ' ' .. times
  end
end
kept[#kept + 1] = ARGV[2] .. ' ' .. kills
redis.call('HSET', KEYS[1], 'suspects', table.concat(kept, ', '))
return kills
