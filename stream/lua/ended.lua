-- End generations. KEYS: generations. ARGV: time. Returns the names of those that end at or before it, for their rows to be dropped;
-- from here on nothing is stored in any generation that does, whether it has rows or not.
local before, ended = tonumber(ARGV[1]), {}
local held = redis.call('HGETALL', KEYS[1])
local dropped = -math.huge
for i = 1, #held, 2 do
  local time = tonumber(held[i + 1])
  if held[i] == 'dropped' then dropped = time elseif time <= before then ended[#ended + 1] = held[i] end
end
if before > dropped then redis.call('HSET', KEYS[1], 'dropped', ARGV[1]) end
return ended
