-- Take a unit over. KEYS: unit. Returns the new epoch and all fields of the unit; whoever held an older epoch is fenced off from here on.
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
return {epoch, redis.call('HGETALL', KEYS[1])}
