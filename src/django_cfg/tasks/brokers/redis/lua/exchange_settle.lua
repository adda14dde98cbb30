-- KEYS: globals, session, held, queues, result keys.
-- ARGV: {session, lease, seq, queues, want, done, others, born, results, verdict}
--   want: {count, suspect, number of wanted queues (they stand first)}   done: {ids, fences}
--   others: {id, fence, kind, body, delay, info, place of a key behind those of the results}   born: {parent, item}
--   results: {parents, values, ttls}, and their keys in this order
-- What comes by the thousand comes as lists: a table for each would take longer than all that is done with it.
local session, lease, seq, names, want, done, others, born, results, verdict = unpack(cmsgpack.unpack(ARGV[1]))
local held = KEYS[10]
local result_keys = 10 + 7 * #names
bind(names, 11)

-- The first write needs no memory: after it Redis lets the others pass, so that workers can finish tasks and
-- give memory back while the server refuses everybody who needs more.
redis.call('HDEL', held, '')
if not redis.call('ZSCORE', G.sessions, session) then
    return false
end
redis.call('ZADD', G.sessions, now + lease, session)

local refused, is_refused = {}, {}

local function refuse(id)
    refused[#refused + 1] = id
    is_refused[id] = true
end

-- Held entries of one exchange and queue are the same text: each is taken apart once.
local entries = {}

local function read_entry(text)
    local entry = entries[text]
    if not entry then
        local fence, _, queue = string.match(text, '^(%d+) (%d+) (%S+) ')
        entry = { fence = tonumber(fence), queue = queue }
        entries[text] = entry
    end
    return entry
end

-- The ids that are still held with the fences that their outcomes name.
local function let_go(ids, fences)
    local mine, counts = {}, {}
    for i, text in ipairs(read_all(held, ids)) do
        local entry = text and read_entry(text)
        if entry and entry.fence == fences[i] then
            mine[#mine + 1] = ids[i]
            counts[entry.queue] = (counts[entry.queue] or 0) + 1
        else
            refuse(ids[i])
        end
    end
    push('HDEL', held, mine)
    for queue, count in pairs(counts) do
        redis.call('HINCRBY', G.running, queue, -count)
    end
    return mine
end

local function settle_done()
    local mine = let_go(done[1], done[2])
    push('HDEL', G.messages, mine)
    if redis.call('EXISTS', G.cancelled) == 1 then
        push('SREM', G.cancelled, mine)
    end
end

local settle = {}

function settle.released(m, o, ready)
    if redis.call('SISMEMBER', G.cancelled, m.id) == 1 then
        finish_cancelled(m.id, KEYS[result_keys + #results[1] + o[7]], verdict)
    else
        save(m)
        ready[#ready + 1] = m
    end
end

function settle.retry(m, o, ready)
    m.body, m.due = o[4], now + o[5]
    save(m)
    if o[5] > 0 then
        later(Q[m.queue].retrying, m, Q[m.queue])
    else
        ready[#ready + 1] = m
    end
end

function settle.dead(m, o)
    m.body = o[4]
    bury(m, o[6])
end

local function settle_others()
    local ids, fences, ready = {}, {}, {}
    for i, o in ipairs(others) do
        ids[i], fences[i] = o[1], o[2]
    end
    let_go(ids, fences)
    for i, o in ipairs(others) do
        local text = not is_refused[o[1]] and redis.call('HGET', G.messages, o[1])
        if text then
            local m = split(o[1], text)
            m.claims = fences[i]
            settle[o[3]](m, o, ready)
        end
    end
    put_back(ready)
end

local function store_what_came_along()
    local items = {}
    for _, child in ipairs(born) do
        if not is_refused[child[1]] then
            items[#items + 1] = child[2]
        end
    end
    insert(items)
    local values, ttls = results[2], results[3]
    for i, parent in ipairs(results[1]) do
        if not is_refused[parent] then
            keep(KEYS[result_keys + i], values[i], ttls[i])
        end
    end
end
