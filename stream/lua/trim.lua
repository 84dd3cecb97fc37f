-- Forget an outbox up to a number. KEYS: outbox. ARGV: the first number to keep.
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1] .. '-0')
