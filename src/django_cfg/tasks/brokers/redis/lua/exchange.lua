-- KEYS: globals, session, held, queues, result keys.
-- ARGV: {session, lease, seq, queues, want, done, others, born, results, verdict}
--   want: {count, suspect, number of wanted queues (they stand first)}   done: {ids, fences}
--   others: {id, fence, kind, body, delay, info, result key's place}   born: {parent, item}
--   results: {parent, result key's place, value, ttl}
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
        local fence, _, queue = string.match(text, '^(%d+) (%d+) (%S+)$')
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
        finish_cancelled(m.id, KEYS[result_keys + o[7]], verdict)
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
    for _, result in ipairs(results) do
        if not is_refused[result[1]] then
            keep(KEYS[result_keys + result[2]], result[3], result[4])
        end
    end
end

local taken, held_fields = { ids = {}, fences = {}, texts = {} }, {}

local function next_fence(text)
    if string.sub(text, 1, 2) == '0 ' then
        return 1
    end
    return (string.match(text, '^%d+') or 0) + 1
end

local function hand_out(queue, ids)
    local count, behind = 0, ' ' .. seq .. ' ' .. queue.name
    for i, text in ipairs(read_all(G.messages, ids)) do
        if text then
            local fence = next_fence(text)
            local place = #taken.ids + 1
            taken.ids[place], taken.fences[place], taken.texts[place] = ids[i], fence, text
            held_fields[2 * place - 1], held_fields[2 * place] = ids[i], fence .. behind
            count = count + 1
        end
    end
    if count > 0 then
        redis.call('HINCRBY', G.running, queue.name, count)
    end
    return count
end

local function pop_ranked(zset, from, to, count, ids)
    local members = count > 0 and redis.call('ZRANGEBYSCORE', zset, from, to, 'LIMIT', 0, count) or {}
    push('ZREM', zset, members)
    for _, member in ipairs(members) do
        ids[#ids + 1] = string.sub(member, 18)
    end
end

-- Up to `count` of one queue: urgent ones, then the list, then those that can wait.
local function take(queue, count)
    local ids = {}
    local is_ranked = redis.call('EXISTS', queue.priority) == 1
    if is_ranked then
        pop_ranked(queue.priority, '-inf', '(0', count, ids)
    end
    if #ids < count then
        for _, id in ipairs(redis.call('LPOP', queue.list, count - #ids) or {}) do
            ids[#ids + 1] = id
        end
    end
    if is_ranked then
        pop_ranked(queue.priority, '(0', '+inf', count - #ids, ids)
    end
    return hand_out(queue, ids)
end

local function take_suspect(open)
    for _, queue in ipairs(open) do
        local ids = {}
        pop_ranked(queue.suspects, '-inf', '+inf', 1, ids)
        if hand_out(queue, ids) > 0 then
            return 1
        end
    end
    return 0
end

-- Wake the next worker where work is left; where none is, an old token would wake one for nothing.
local function pass_on(open, took_suspect)
    for _, queue in ipairs(open) do
        if has_work(queue) then
            ring(queue)
        elseif redis.call('EXISTS', queue.suspects) == 0 then
            redis.call('DEL', queue.wake)
        elseif took_suspect then
            ring(queue)
        end
    end
end

-- At most one suspect, then a fair share of each queue, then the rest; another queue begins each time.
local function claim(open)
    local left = want[1]
    if left <= 0 or #open == 0 then
        return
    end
    local suspects = want[2] and take_suspect(open) or 0
    left = left - suspects
    for _, share in ipairs({ math.ceil(left / #open), left }) do
        for i = 1, #open do
            if left > 0 then
                left = left - take(open[(i + seq) % #open + 1], math.min(share, left))
            end
        end
        if left <= 0 or #open == 1 then
            break
        end
    end
    push('HSET', held, held_fields)
    pass_on(open, suspects > 0)
end

-- The answer to a call whose reply was lost: what it claimed is still held under its number.
local function claim_again()
    local fields, ids = redis.call('HGETALL', held), {}
    for i = 1, #fields, 2 do
        local fence, claimed_in = string.match(fields[i + 1], '^(%d+) (%d+)')
        if tonumber(claimed_in) == seq then
            table.insert(taken.ids, fields[i])
            table.insert(taken.fences, tonumber(fence))
        end
    end
    taken.texts = read_all(G.messages, taken.ids)
end

local function revoked()
    local found = {}
    if redis.call('EXISTS', G.cancelled) == 1 then
        for _, id in ipairs(redis.call('SMEMBERS', G.cancelled)) do
            if redis.call('HEXISTS', held, id) == 1 then
                found[#found + 1] = id
            end
        end
    end
    return found
end

local function open_queues(paused)
    local is_shut, open = {}, {}
    for _, name in ipairs(paused) do
        is_shut[name] = true
    end
    for i = 1, want[3] do
        if not is_shut[names[i]] then
            open[#open + 1] = Q[names[i]]
        end
    end
    return open
end

local last = redis.call('HMGET', KEYS[9], 'seq', 'refused')
-- An older number is a call that was given up and comes late, from a connection that is closed by now.
local is_repeated = tonumber(last[1]) >= seq
if is_repeated then
    refused = cmsgpack.unpack(last[2])
else
    settle_done()
    settle_others()
    store_what_came_along()
end
local paused = redis.call('SMEMBERS', G.paused)
local open, next_due = open_queues(paused), -1
for _, queue in ipairs(open) do
    local due = promote(queue)
    if due and (next_due < 0 or due < next_due) then
        next_due = due
    end
end
if is_repeated then
    claim_again()
else
    claim(open)
    redis.call('HSET', KEYS[9], 'seq', seq, 'refused', cmsgpack.pack(refused))
end
local lengths = {}
for i, text in ipairs(taken.texts) do
    lengths[i] = #text
end
return {
    cmsgpack.pack({ now, taken.ids, taken.fences, lengths, refused, revoked(), paused, next_due }),
    table.concat(taken.texts),
}
