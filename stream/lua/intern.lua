-- The number of each name, given out once and for ever. KEYS: names, numbers. ARGV: names.
local numbers = {}
for i = 1, #ARGV do
  local number = redis.call('HGET', KEYS[1], ARGV[i])
  if not number then
    number = redis.call('HLEN', KEYS[1]) + 1
    redis.call('HSET', KEYS[1], ARGV[i], number)
    redis.call('HSET', KEYS[2], number, ARGV[i])
  end
  numbers[i] = tonumber(number)
end
return numbers
