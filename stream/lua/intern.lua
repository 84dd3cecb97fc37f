-- The number of each name, given out once and for ever. KEYS: names, numbers. ARGV: most names (0: any number), names.
local most, numbers = tonumber(ARGV[1]), {}
for i = 2, #ARGV do
  local number = redis.call('HGET', KEYS[1], ARGV[i])
  if not number then
    number = redis.call('HLEN', KEYS[1]) + 1
    if most > 0 and number > most then
      number = 0
    else
      redis.call('HSET', KEYS[1], ARGV[i], number)
      redis.call('HSET', KEYS[2], number, ARGV[i])
    end
  end
  numbers[i - 1] = tonumber(number)
end
return numbers
