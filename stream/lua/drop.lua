-- Drop buckets of a generation and count what never matched. KEYS: counts. ARGV: prefix of the generation's keys, first bucket, buckets in all,
-- most rows to look at. Returns unmatched predictions, unmatched labels, and the bucket to go on with.
local predictions, labels, rows, bucket = 0, 0, 0, tonumber(ARGV[2])
while bucket < tonumber(ARGV[3]) and rows < tonumber(ARGV[4]) do
  local key = ARGV[1] .. ':' .. bucket
  local values = redis.call('HVALS', key)
  for i = 1, #values do
    local flags = bit.band(string.byte(values[i]), 3)
    if flags == 1 then predictions = predictions + 1 elseif flags == 2 then labels = labels + 1 end
  end
  if #values > 0 then redis.call('UNLINK', key, key .. ':corrected', key .. ':scores') end
  rows, bucket = rows + #values, bucket + 1
end
redis.call('HINCRBY', KEYS[1], 'predictions', predictions)
redis.call('HINCRBY', KEYS[1], 'labels', labels)
return {predictions, labels, bucket}
