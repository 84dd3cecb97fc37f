-- Take reports; return the watermark over all units (traffic, performance), and up to which clock everything was delivered (likewise). KEYS: clock.
-- ARGV: now, lease, watermark when all are idle ('' = hold), partitions of predictions, of labels, then per report: unit, epoch, watermark, idle
-- (0 or 1), and the traffic and performance clock up to which the unit has delivered its outbox.
-- A unit without a report holds the clock; a report of an older epoch is ignored; idleness counts while it is fresher than the lease,
-- since nobody reads the partition of a worker that died.
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 6, #ARGV, 6 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  local epoch = held and tonumber(string.match(held, '^(%d+)')) or 0
  if tonumber(ARGV[i + 1]) >= epoch then
    local told = {ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[1], ARGV[i + 4], ARGV[i + 5]}
    redis.call('HSET', KEYS[1], ARGV[i], table.concat(told, ' '))
  end
end
local delivered = {math.huge, math.huge}
local function lowest(topic, partitions)  -- nil: all idle; -math.huge: held
  local low
  for partition = 0, partitions - 1 do
    local held = redis.call('HGET', KEYS[1], topic .. '/' .. partition)
    if not held then
      delivered = {-math.huge, -math.huge}
      return -math.huge
    end
    local watermark, idle, at, traffic, performance = string.match(held, '^%d+ (%S+) (%d) (%d+) ?(%S*) ?(%S*)')
    delivered[1] = math.min(delivered[1], tonumber(traffic) or -math.huge)
    delivered[2] = math.min(delivered[2], tonumber(performance) or -math.huge)
    if idle == '0' or now - tonumber(at) > lease then low = math.min(low or math.huge, tonumber(watermark)) end
  end
  return low
end
local function advance(name, to)
  local held = redis.call('HGET', KEYS[1], name)
  if to == -math.huge or to == math.huge or (held and tonumber(held) >= to) then return held or '' end
  local text = string.format('%.0f', to)
  redis.call('HSET', KEYS[1], name, text)
  return text
end
local predictions, labels = lowest('predictions', tonumber(ARGV[4])), lowest('labels', tonumber(ARGV[5]))
local both = predictions
if labels and (not predictions or labels < predictions) then both = labels end
local all_idle = ARGV[3] ~= '' and tonumber(ARGV[3]) or -math.huge
return {
  advance('traffic', predictions or all_idle), advance('performance', both or all_idle),
  advance('delivered:traffic', delivered[1]), advance('delivered:performance', delivered[2]),
}
