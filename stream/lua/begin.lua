-- Tie a worker to the state, and make it if there is none. KEYS: era. ARGV: a new era's id, cluster, topic id and partitions of the predictions,
-- topic id and partitions of the labels, format of the join's rows. Returns all fields as they are now.
-- More partitions than before begin a new era over the same state: every worker that does not know of them is refused until it begins again.
-- Ids are written once; it is the caller who compares. An id that is not known is ''.
local key, id = KEYS[1], ARGV[1]
local fresh = redis.call('EXISTS', key) == 0
if fresh then redis.call('HSET', key, 'id', id, 'homes', ARGV[4], 'rows', ARGV[7]) end
local known = {cluster = ARGV[2], ['topic:predictions'] = ARGV[3], ['topic:labels'] = ARGV[5]}
local same = true
for field, value in pairs(known) do
  if value ~= '' and redis.call('HSETNX', key, field, value) == 0 then same = same and redis.call('HGET', key, field) == value end
end
for field, count in pairs({['partitions:predictions'] = ARGV[4], ['partitions:labels'] = ARGV[6]}) do
  if same and tonumber(count) > tonumber(redis.call('HGET', key, field) or '0') then
    redis.call('HSET', key, field, count, 'id', id)
  end
end
return redis.call('HGETALL', key)
