-- KEYS: globals, queues. ARGV: {queues, items}; items: {id, queue, priority, "queue task\n" and body, info}
-- Stores messages as dead letters; an id that lives or is dead already is left alone.
local names, items = unpack(cmsgpack.unpack(ARGV[1]))
bind(names, 9)
for _, item in ipairs(items) do
    local id = item[1]
    if redis.call('HEXISTS', G.messages, id) == 0 and redis.call('HEXISTS', G.dead, id) == 0 then
        local position = redis.call('INCR', G.counter)
        local text = '0 0 ' .. position .. ' ' .. item[3] .. ' ' .. now .. ' ' .. now .. ' ' .. item[4]
        redis.call('SADD', G.queues, item[2])
        bury(split(id, text, item[2]), item[5])
    end
end
return 1
