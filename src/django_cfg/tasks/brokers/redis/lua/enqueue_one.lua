-- One message alone, without what the other scripts share: it is the call that a web request waits for.
-- KEYS: producer, messages, dead, counter, paused, queues, list, priority, delayed, wake
-- ARGV: seq, ttl, id, queue, priority, delay, "queue task\n" and body. 0 if this very call was carried out before.
local last = redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'GET')
if last and tonumber(last) >= tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], last, 'PX', ARGV[2])
    return 0
end

local id, priority, delay = ARGV[3], ARGV[5], tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local position = redis.call('INCR', KEYS[4])
local times = now .. ' ' .. now + delay
if redis.call('HSETNX', KEYS[2], id, '0 0 ' .. position .. ' ' .. priority .. ' ' .. times .. ' ' .. ARGV[7]) == 0 then
    return 1 -- it lives
end

local letter = redis.call('HGET', KEYS[3], id)
if letter then
    local queue = string.match(letter, '^%d+ %d+ %d+ %-?%d+ %d+ %d+ (%S+) ')
    redis.call('LREM', string.sub(KEYS[3], 1, -5) .. 'queue:' .. (queue or ARGV[4]) .. '.DQ', 1, id)
    redis.call('HDEL', KEYS[3], id)
end

local is_news, ranked = true, string.format(priority == '0' and '%016d:%s' or '%016d!%s', position, id)
if delay > 0 then
    redis.call('ZADD', KEYS[9], now + delay, ranked)
    is_news = redis.call('ZRANGE', KEYS[9], 0, 0)[1] == ranked -- whoever waits for a later one has to look again
elseif priority ~= '0' then
    redis.call('ZADD', KEYS[8], priority, ranked)
else
    redis.call('RPUSH', KEYS[7], id)
end
redis.call('SADD', KEYS[6], ARGV[4])
if is_news and redis.call('EXISTS', KEYS[10]) == 0 and redis.call('SISMEMBER', KEYS[5], ARGV[4]) == 0 then
    redis.call('RPUSH', KEYS[10], '1')
end
return 1
