-- One atomic step of a unit. KEYS: unit, outbox. ARGV: epoch, sequence, prefix of the panes' keys, how many fields, how many panes, then
-- the fields (name, value), the panes (model, field, aggregate) and the outbox (number, topic, key, value).
-- Returns 1 (written, or written before by a try whose answer was lost) or 0 (somebody else owns the unit: nothing was written).
-- A script is not rolled back: everything is checked before the first write.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
if held[1] ~= ARGV[1] then return 0 end
if held[2] == ARGV[2] then return 1 end
if tonumber(held[2] or '0') ~= tonumber(ARGV[2]) - 1 then return 0 end
local panes = 6 + 2 * tonumber(ARGV[4])
local outbox = panes + 3 * tonumber(ARGV[5])
for i = panes, outbox - 1, 3 do redis.call('HSET', ARGV[3] .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
for i = outbox, #ARGV, 4 do
  redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'topic', ARGV[i + 1], 'key', ARGV[i + 2], 'value', ARGV[i + 3])
end
redis.call('HSET', KEYS[1], 'sequence', ARGV[2], unpack(ARGV, 6, panes - 1))
return 1
