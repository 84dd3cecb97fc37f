-- One atomic step of a model at its home unit. KEYS: unit, closing, merged, outbox.
-- ARGV: epoch, subject, sequence, packed fields of closing, packed alerts to forget, packed merged panes, packed expired panes, packed outbox.
-- Returns 1 (written, or written before) or 0 (somebody else owns the home unit: nothing was written).
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local counter = ARGV[2] .. ':sequence'
local held = redis.call('HGET', KEYS[2], counter)
if held == ARGV[3] then return 1 end
if tonumber(held or '0') ~= tonumber(ARGV[3]) - 1 then return 0 end
local unpacked = {}
for i = 4, 8 do unpacked[i] = cmsgpack.unpack(ARGV[i]) end
local fields, forgotten, merged, expired, outbox = unpacked[4], unpacked[5], unpacked[6], unpacked[7], unpacked[8]
for i = 1, #fields, 2 do redis.call('HSET', KEYS[2], fields[i], fields[i + 1]) end
for i = 1, #forgotten do redis.call('HDEL', KEYS[2], forgotten[i]) end
for i = 1, #merged, 2 do redis.call('HSET', KEYS[3], merged[i], merged[i + 1]) end
for i = 1, #expired do redis.call('HDEL', KEYS[3], expired[i]) end
for i = 1, #outbox, 4 do
  redis.call('XADD', KEYS[4], outbox[i] .. '-0', 'topic', outbox[i + 1], 'key', outbox[i + 2], 'value', outbox[i + 3])
end
if #outbox > 0 then redis.call('HSET', KEYS[1], 'outbox', outbox[#outbox - 3]) end
redis.call('HSET', KEYS[2], counter, ARGV[3])
return 1
