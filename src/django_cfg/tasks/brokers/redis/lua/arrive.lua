-- KEYS: group. ARGV: member. 1 for the member that completed the group, however often it is asked; else 0.
local size = redis.call('HGET', KEYS[1], 'size')
if not size then
    return 0
end
if redis.call('HSETNX', KEYS[1], 'member:' .. ARGV[1], 1) == 1
    and redis.call('HINCRBY', KEYS[1], 'arrived', 1) == tonumber(size) then
    redis.call('HSET', KEYS[1], 'closer', ARGV[1])
end
return redis.call('HGET', KEYS[1], 'closer') == ARGV[1] and 1 or 0
