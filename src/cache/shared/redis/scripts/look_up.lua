-- Looks an entry up; without one, tries to begin its fetch. Returns an array of the entry, or its clear part
-- if there is no room for more, and its length; or who fetches.
-- The clear part of an entry has 57 bytes; anything shorter, or too large for an entry, counts as absent. So
-- does a fetch that would outlast its length: without an expiry, or because the clock was set back.
-- KEYS: entry, fetch
-- ARGV: call, salt that counts as absent, owner, length of a fetch, most bytes of an entry, room
local time = redis.call('TIME')
local length = redis.call('STRLEN', KEYS[1])
if length >= 57 and length <= tonumber(ARGV[5])
    and redis.call('GETRANGE', KEYS[1], 41, 56) ~= ARGV[2] then
  local last = length <= tonumber(ARGV[6]) and -1 or 56
  return {ARGV[1], time, {redis.call('GETRANGE', KEYS[1], 0, last), length}}
end
local left = redis.call('PTTL', KEYS[2])
if left < 0 or left > tonumber(ARGV[4]) then
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
  return {ARGV[1], time, 'ours'}
end
local holder = redis.call('GET', KEYS[2])
if holder == ARGV[3] then return {ARGV[1], time, 'ours'} end
return {ARGV[1], time, holder == 'unshareable' and holder or 'other'}
