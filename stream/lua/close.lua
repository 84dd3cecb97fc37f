-- One atomic step of a model at its home unit. KEYS: unit, closing, merged, slices, outbox. ARGV: epoch, subject, sequence, how many fields,
-- forgotten fields, panes, expired panes, slices, passed slices, then the fields of closing (name, value), those to forget, the merged panes
-- (field, aggregate), those that expired, the slices likewise, and the outbox (number, topic, key, value).
-- Returns 1 (written, or written before) or 0 (somebody else owns the home unit: nothing was written).
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local counter = ARGV[2] .. ':sequence'
local held = redis.call('HGET', KEYS[2], counter)
if held == ARGV[3] then return 1 end
if tonumber(held or '0') ~= tonumber(ARGV[3]) - 1 then return 0 end
local at = 10
local function take(count, width)
  local from = at
  at = at + width * tonumber(count)
  return from, at - 1, width
end
local function each(from, to, width, command, key)
  for i = from, to, width do redis.call(command, key, unpack(ARGV, i, i + width - 1)) end
end
local from, to, width = take(ARGV[4], 2)
each(from, to, width, 'HSET', KEYS[2])
from, to, width = take(ARGV[5], 1)
each(from, to, width, 'HDEL', KEYS[2])
from, to, width = take(ARGV[6], 2)
each(from, to, width, 'HSET', KEYS[3])
from, to, width = take(ARGV[7], 1)
each(from, to, width, 'HDEL', KEYS[3])
from, to, width = take(ARGV[8], 2)
each(from, to, width, 'HSET', KEYS[4])
from, to, width = take(ARGV[9], 1)
each(from, to, width, 'HDEL', KEYS[4])
for i = at, #ARGV, 4 do
  redis.call('XADD', KEYS[5], ARGV[i] .. '-0', 'topic', ARGV[i + 1], 'key', ARGV[i + 2], 'value', ARGV[i + 3])
  redis.call('HSET', KEYS[1], 'outbox', ARGV[i])
end
redis.call('HSET', KEYS[2], counter, ARGV[3])
return 1
