-- A beat of a member. The log may have lost items if there is no group, if another primary has it than
-- the one under which the era began, or if the member has applied more items than there are: then a
-- new era begins with an empty log.
-- KEYS: group, log
-- ARGV: call, field of the member, its value, new era, era and item of its position, most items, most bytes
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known = redis.call('HMGET', KEYS[1], 'era', 'run', 'n')
local era, last, at = known[1], tonumber(known[3]), tonumber(ARGV[6])
if not era or known[2] ~= run or not last or (era == ARGV[5] and at > last) then
  era, last = ARGV[4], 0
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'era', era, 'run', run, 'n', 0)
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
if era ~= ARGV[5] then at = 0 end

local items, bytes = {}, 0
if at < last then
  local from = string.format('%d', at + 1)
  for _, item in ipairs(redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[7])) do
    bytes = bytes + #item[2][4]
    if #items > 0 and bytes > tonumber(ARGV[8]) then break end
    items[#items + 1] = item
  end
end
return {ARGV[1], era, last, redis.call('TIME'), items, redis.call('HGETALL', KEYS[1])}
