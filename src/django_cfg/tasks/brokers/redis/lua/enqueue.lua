-- KEYS: globals, producer, queues. ARGV: {seq, ttl, queues, items}. 0 if this very call was carried out before.
local ask = cmsgpack.unpack(ARGV[1])
bind(ask[3], 10)
local last = redis.call('GET', KEYS[9])
if last and tonumber(last) >= ask[1] then
    return 0
end
redis.call('SET', KEYS[9], ask[1], 'PX', ask[2])
insert(ask[4])
return 1
