-- KEYS: globals, queue. ARGV: {{queue}}. Deletes what waits in a queue, up to a thousand of each kind; how many.
local names = cmsgpack.unpack(ARGV[1])[1]
bind(names, 9)
local queue = Q[names[1]]
local ids = redis.call('LPOP', queue.list, CHUNK) or {}
for _, zset in ipairs({ queue.priority, queue.suspects, queue.delayed, queue.retrying }) do
    local members = redis.call('ZRANGE', zset, 0, CHUNK - 1)
    push('ZREM', zset, members)
    for _, member in ipairs(members) do
        ids[#ids + 1] = string.sub(member, 18)
    end
end
push('HDEL', G.messages, ids)
return #ids
