-- Prolongs the fetch of an owner, or ends it; "unshareable" is kept as long as a fetch.
-- KEYS: fetch
-- ARGV: call, owner, the value from now on or nothing, length of a fetch
if redis.call('GET', KEYS[1]) == ARGV[2] then
  if ARGV[3] == '' then redis.call('DEL', KEYS[1])
  else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
end
return {ARGV[1]}
