-- Appends an item to the log, if the era of the caller is in force under this primary.
-- KEYS: group, log
-- ARGV: call, era, sealed item, most items in the log
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known = redis.call('HMGET', KEYS[1], 'era', 'run', 'n')
if known[1] ~= ARGV[2] or known[2] ~= run or not known[3] then return {ARGV[1], 0} end
local time = redis.call('TIME')
local id = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], string.format('%d-0', id),
  't', time[1] .. string.format('%06d', time[2]), 's', ARGV[3])
return {ARGV[1], id}
