-- KEYS: globals, queue. ARGV: {{queue}, limit}. What would run next, best first of each kind.
local ask = cmsgpack.unpack(ARGV[1])
bind(ask[1], 9)
local queue, limit, ids = Q[ask[1][1]], ask[2], {}
for _, zset in ipairs({ queue.suspects, queue.priority }) do
    for _, member in ipairs(redis.call('ZRANGE', zset, 0, limit - 1)) do
        ids[#ids + 1] = string.sub(member, 18)
    end
end
for _, id in ipairs(redis.call('LRANGE', queue.list, 0, limit - 1)) do
    ids[#ids + 1] = id
end
local texts = {}
for _, text in ipairs(read_all(G.messages, ids)) do
    if text then
        texts[#texts + 1] = text
    end
end
return texts
