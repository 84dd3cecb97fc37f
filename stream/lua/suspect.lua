-- Note the message that a worker ends over. KEYS: unit. ARGV: epoch, offset. Returns how many workers ended over it, this one included, or 0
-- (somebody else owns the unit: nothing was written).
local held = redis.call('HMGET', KEYS[1], 'epoch', 'suspect')
if held[1] ~= ARGV[1] then return 0 end
local offset, kills = string.match(held[2] or '', '^(%d+) (%d+)$')
kills = offset == ARGV[2] and tonumber(kills) + 1 or 1
redis.call('HSET', KEYS[1], 'suspect', ARGV[2] .. ' ' .. kills)
return kills
