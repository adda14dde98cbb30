-- KEYS: globals, queues. ARGV: {queues}.
-- Per queue: pending, scheduled, running, retrying, dead, age of the oldest that waits in ms or -1.
local names = cmsgpack.unpack(ARGV[1])
bind(names, 9)

local function due_of(id)
    local text = id and redis.call('HGET', G.messages, id)
    return text and split(id, text).due
end

local function oldest(queue)
    local firsts = {
        redis.call('LINDEX', queue.list, 0) or '',
        string.sub(redis.call('ZRANGE', queue.priority, 0, 0)[1] or '', 18),
        string.sub(redis.call('ZRANGE', queue.suspects, 0, 0)[1] or '', 18),
        string.sub(redis.call('ZRANGE', queue.delayed, 0, 0)[1] or '', 18),
        string.sub(redis.call('ZRANGE', queue.retrying, 0, 0)[1] or '', 18),
    }
    local since
    for _, id in ipairs(firsts) do
        local due = due_of(id)
        if due and due <= now and (not since or due < since) then
            since = due
        end
    end
    return since and now - since or -1
end

local answer = {}
for i, name in ipairs(names) do
    local queue = Q[name]
    local scheduled = redis.call('ZCOUNT', queue.delayed, '(' .. now, '+inf')
    local retrying = redis.call('ZCOUNT', queue.retrying, '(' .. now, '+inf')
    local due = redis.call('ZCARD', queue.delayed) + redis.call('ZCARD', queue.retrying) - scheduled - retrying
    answer[i] = {
        redis.call('LLEN', queue.list) + redis.call('ZCARD', queue.priority)
            + redis.call('ZCARD', queue.suspects) + due,
        scheduled, tonumber(redis.call('HGET', G.running, name)) or 0, retrying,
        redis.call('LLEN', queue.dead), oldest(queue),
    }
end
return answer
