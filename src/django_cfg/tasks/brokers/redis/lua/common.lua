-- Shared by every script. Every key is declared: first the global ones in the order of keys.GLOBALS, then what a
-- script needs of its own, then seven of each queue in the order of keys.PARTS.
-- A message is one text: "claims deliveries position priority enqueued due queue task\n" and its JSON.
local G = {
    messages = KEYS[1], dead = KEYS[2], counter = KEYS[3], sessions = KEYS[4],
    paused = KEYS[5], cancelled = KEYS[6], running = KEYS[7], queues = KEYS[8],
}
local Q = {}
local CHUNK = 1000 -- unpack() takes less than 8,000
local MOST_PROMOTED = 2000
local CLAIM = 128 -- what a worker claims at most in one exchange

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function bind(names, first)
    for i, name in ipairs(names) do
        local k = first + (i - 1) * 7
        Q[name] = {
            name = name, list = KEYS[k], priority = KEYS[k + 1], suspects = KEYS[k + 2], delayed = KEYS[k + 3],
            retrying = KEYS[k + 4], dead = KEYS[k + 5], wake = KEYS[k + 6],
        }
    end
end

local function in_chunks(list, act)
    for first = 1, #list, CHUNK do
        act(first, math.min(first + CHUNK - 1, #list))
    end
end

local function push(command, key, list)
    in_chunks(list, function(first, last) redis.call(command, key, unpack(list, first, last)) end)
end

local function read_all(key, ids)
    local values = {}
    in_chunks(ids, function(first, last)
        for _, value in ipairs(redis.call('HMGET', key, unpack(ids, first, last))) do
            values[#values + 1] = value
        end
    end)
    return values
end

-- A text without a head was put there by somebody else; as a body that nobody can read it becomes a dead letter.
local function split(id, text, queue_name)
    local claims, deliveries, position, priority, enqueued, due, queue, task, body =
        string.match(text, '^(%d+) (%d+) (%d+) (%-?%d+) (%d+) (%d+) (%S+) ([^\n]*)\n(.*)$')
    if not claims then
        return {
            id = id, claims = 0, deliveries = 0, position = 0, priority = 0, enqueued = now, due = now,
            queue = queue_name, task = 'unknown', body = text,
        }
    end
    return {
        id = id, claims = tonumber(claims), deliveries = tonumber(deliveries), position = tonumber(position),
        priority = tonumber(priority), enqueued = tonumber(enqueued), due = tonumber(due), queue = queue,
        task = task, body = body,
    }
end

local function head(m)
    return table.concat(
        { m.claims, m.deliveries, m.position, m.priority, m.enqueued, m.due, m.queue, m.task }, ' ')
end

local function save(m)
    redis.call('HSET', G.messages, m.id, head(m) .. '\n' .. m.body)
end

-- Members of one score stand in the order of their text, so the position goes in front. Behind it stands whether the
-- message belongs into the list: ':', or '!' for one of another priority.
local function ranked(m)
    return string.format(m.priority == 0 and '%016d:%s' or '%016d!%s', m.position, m.id)
end

local function has_work(queue)
    return redis.call('LLEN', queue.list) > 0 or redis.call('ZCARD', queue.priority) > 0
end

local function is_paused(queue)
    return redis.call('SISMEMBER', G.paused, queue.name) == 1
end

-- One token wakes one idle worker, which passes the next on when it leaves work behind.
local function ring(queue)
    if redis.call('EXISTS', queue.wake) == 0 and not is_paused(queue) then
        redis.call('RPUSH', queue.wake, '1')
    end
end
