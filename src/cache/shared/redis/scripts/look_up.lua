-- Looks an entry up; without one, tries to begin its fetch. Returns the entry in an array, or who fetches.
-- The clear part of an entry has 57 bytes; anything shorter counts as absent.
-- KEYS: entry, fetch
-- ARGV: call, salt that counts as absent, owner, length of a fetch, most bytes of an entry
local time = redis.call('TIME')
local length = redis.call('STRLEN', KEYS[1])
if length >= 57 and length <= tonumber(ARGV[5])
    and redis.call('GETRANGE', KEYS[1], 41, 56) ~= ARGV[2] then
  return {ARGV[1], time, {redis.call('GET', KEYS[1])}}
end
if redis.call('SET', KEYS[2], ARGV[3], 'NX', 'PX', ARGV[4]) then return {ARGV[1], time, 'ours'} end
local holder = redis.call('GET', KEYS[2])
if holder == ARGV[3] then return {ARGV[1], time, 'ours'} end
return {ARGV[1], time, holder == 'unshareable' and holder or 'other'}
