-- Note when each model was last heard of, or looked at; an earlier time changes nothing. KEYS: heard. ARGV: field, ms of each.
for i = 1, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if not held or tonumber(ARGV[i + 1]) > tonumber(held) then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
