-- KEYS: globals, held, queues, result keys. ARGV: {queues, {{id, fence, queue, info}, ...}, result, ttl}
-- Moves claimed messages that nobody can read to the dead letters.
local names, unread, result, ttl = unpack(cmsgpack.unpack(ARGV[1]))
bind(names, 10)
for i, one in ipairs(unread) do
    local id, fence, queue, info = unpack(one)
    local entry, text = redis.call('HGET', KEYS[9], id), redis.call('HGET', G.messages, id)
    if entry and text and tonumber(string.match(entry, '^%d+')) == fence then
        redis.call('HDEL', KEYS[9], id)
        redis.call('HINCRBY', G.running, queue, -1)
        bury(split(id, text, queue), info)
        keep(KEYS[9 + 7 * #names + i], result, ttl)
    end
end
