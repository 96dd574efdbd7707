-- Stores an entry and ends the fetch of its owner, unless one of the same era that began later is
-- stored. An entry begins with format (1), era (16), position (8), when it began (16 digits).
-- KEYS: entry, fetch
-- ARGV: call, entry, life in ms, owner
local stored = redis.call('GETRANGE', KEYS[1], 0, 40)
local is_newer = #stored == 41 and string.sub(stored, 1, 17) == string.sub(ARGV[2], 1, 17)
  and string.sub(stored, 26) > string.sub(ARGV[2], 26, 41)
if not is_newer then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
return {ARGV[1], is_newer and 0 or 1}
