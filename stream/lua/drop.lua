-- Drop some buckets of a generation and count what never matched. KEYS: counts. ARGV: prefix of the generation's keys, first bucket, last bucket.
local predictions, labels = 0, 0
for bucket = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  local key = ARGV[1] .. ':' .. bucket
  for _, value in ipairs(redis.call('HVALS', key)) do
    local flags = bit.band(string.byte(value), 3)
    if flags == 1 then predictions = predictions + 1 elseif flags == 2 then labels = labels + 1 end
  end
  redis.call('UNLINK', key)
end
redis.call('HINCRBY', KEYS[1], 'predictions', predictions)
redis.call('HINCRBY', KEYS[1], 'labels', labels)
return {predictions, labels}
