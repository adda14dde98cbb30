-- KEYS: globals, held, queue. ARGV: {{queue}, ids}. Deletes what a session holds of a queue; its outcomes will be refused.
local names, ids = unpack(cmsgpack.unpack(ARGV[1]))
bind(names, 10)
local gone = 0
for _, id in ipairs(ids) do
    if redis.call('HDEL', KEYS[9], id) == 1 then
        redis.call('HINCRBY', G.running, names[1], -1)
        redis.call('HDEL', G.messages, id)
        redis.call('SREM', G.cancelled, id)
        gone = gone + 1
    end
end
return gone
