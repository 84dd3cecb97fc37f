-- Forget fields of hashes. KEYS: hashes. ARGV: for each how many fields, then the fields.
local at = 1
for i = 1, #KEYS do
  local last = at + tonumber(ARGV[at])
  for j = at + 1, last, 1000 do redis.call('HDEL', KEYS[i], unpack(ARGV, j, math.min(j + 999, last))) end
  at = last + 1
end
return 1
