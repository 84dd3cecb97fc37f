-- The start of every script that writes: the last key and argument are the era's key and id. A worker that began in another era, because Redis
-- was emptied since or the topics have grown, changes nothing.
if redis.call('HGET', table.remove(KEYS), 'id') ~= table.remove(ARGV) then return redis.error_reply('ANOTHERERA of the state has begun') end
