-- Removes an entry with this salt.
-- KEYS: entry
-- ARGV: call, salt
if redis.call('GETRANGE', KEYS[1], 41, 56) == ARGV[2] then redis.call('DEL', KEYS[1]) end
return {ARGV[1]}
