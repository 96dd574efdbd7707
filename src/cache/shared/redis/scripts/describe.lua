-- Describes the server: versions, role, limit of its memory, eviction policy, number of its replicas, of
-- those that count for min-replicas-to-write (only if that is set), whether it is a node of a cluster.
-- KEYS: group
-- ARGV: call
local info, found = redis.call('INFO'), {ARGV[1]}
local names = {'valkey_version', 'redis_version', 'role', 'maxmemory', 'maxmemory_policy',
  'connected_slaves', 'min_slaves_good_slaves', 'cluster_enabled'}
for _, name in ipairs(names) do
  found[#found + 1] = string.match(info, '\n' .. name .. ':([%w.-]*)') or ''
end
return found
