-- Describes the server: versions, role, limit of its memory, eviction policy.
-- KEYS: group
-- ARGV: call
local info, found = redis.call('INFO'), {ARGV[1]}
for _, name in ipairs({'valkey_version', 'redis_version', 'role', 'maxmemory', 'maxmemory_policy'}) do
  found[#found + 1] = string.match(info, '\n' .. name .. ':([%w.-]*)') or ''
end
return found
