-- One atomic step of a unit. KEYS: unit, outbox. ARGV: epoch, sequence, prefix of the panes' keys, packed fields, packed panes, packed outbox.
-- Packed: msgpack arrays; fields {name, value, ...}, panes {model, field, blob, ...}, outbox {number, topic, key, value, ...}.
-- Returns 1 (written, or written before by a try whose answer was lost) or 0 (somebody else owns the unit: nothing was written).
-- A script is not rolled back: everything is checked before the first write.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
if held[1] ~= ARGV[1] then return 0 end
if held[2] == ARGV[2] then return 1 end
if tonumber(held[2] or '0') ~= tonumber(ARGV[2]) - 1 then return 0 end
local fields, panes, outbox = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6])
for i = 1, #panes, 3 do redis.call('HSET', ARGV[3] .. panes[i], panes[i + 1], panes[i + 2]) end
for i = 1, #outbox, 4 do
  redis.call('XADD', KEYS[2], outbox[i] .. '-0', 'topic', outbox[i + 1], 'key', outbox[i + 2], 'value', outbox[i + 3])
end
redis.call('HSET', KEYS[1], 'sequence', ARGV[2], unpack(fields))
return 1
