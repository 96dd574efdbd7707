-- Removes a member that has not counted another beat.
-- KEYS: group
-- ARGV: call, field of the member, beginning of its value
local value = redis.call('HGET', KEYS[1], ARGV[2])
if value and string.sub(value, 1, #ARGV[3]) == ARGV[3] then redis.call('HDEL', KEYS[1], ARGV[2]) end
return {ARGV[1]}
