-- Also shared by every script: what puts messages where they belong.

-- Ready messages to the front of their queue: what comes back is older than what waits.
local function put_back(messages)
    table.sort(messages, function(one, other) return one.position > other.position end)
    local fronts = {}
    for _, m in ipairs(messages) do
        local queue = Q[m.queue]
        if m.deliveries > 0 then
            redis.call('ZADD', queue.suspects, m.priority, ranked(m))
        elseif m.priority ~= 0 then
            redis.call('ZADD', queue.priority, m.priority, ranked(m))
        else
            fronts[m.queue] = fronts[m.queue] or {}
            table.insert(fronts[m.queue], m.id)
        end
        fronts[m.queue] = fronts[m.queue] or {}
    end
    for name, ids in pairs(fronts) do
        push('LPUSH', Q[name].list, ids)
        ring(Q[name])
    end
end

local function later(zset, m, queue)
    redis.call('ZADD', zset, m.due, ranked(m))
    if redis.call('ZRANGE', zset, 0, 0)[1] == ranked(m) then
        ring(queue) -- whoever waits for a later one has to look again
    end
end

-- A dead id that is sent again lives again. Its old queue may be one that nobody declared.
local function forget_dead(ids)
    if redis.call('EXISTS', G.dead) == 0 then
        return
    end
    for i, text in ipairs(read_all(G.dead, ids)) do
        if text then
            local queue = split(ids[i], text).queue
            local prefix = string.sub(G.dead, 1, -5)
            redis.call('LREM', Q[queue] and Q[queue].dead or prefix .. 'queue:' .. queue .. '.DQ', 1, ids[i])
            redis.call('HDEL', G.dead, ids[i])
        end
    end
end

local function place_new(m, delay, lists, ranks)
    local queue = Q[m.queue]
    if delay > 0 then
        later(queue.delayed, m, queue)
    elseif m.priority == 0 then
        table.insert(lists[m.queue], m.id)
    else
        redis.call('ZADD', queue.priority, m.priority, ranked(m))
        ranks[m.queue] = true
    end
end

local times_of = {}

local function times(delay)
    times_of[delay] = times_of[delay] or ' ' .. now .. ' ' .. now + delay .. ' '
    return times_of[delay]
end

-- items: {id, queue, priority, delay, "queue task\n" and body}; an id that lives is left alone.
local function insert(items)
    local ids, fresh, seen, lists, ranks, fields = {}, {}, {}, {}, {}, {}
    for i, item in ipairs(items) do
        ids[i] = item[1]
    end
    for i, living in ipairs(read_all(G.messages, ids)) do
        if not living and not seen[ids[i]] then
            seen[ids[i]] = true
            fresh[#fresh + 1] = items[i]
        end
    end
    if #fresh == 0 then
        return
    end
    local position = redis.call('INCRBY', G.counter, #fresh) - #fresh
    forget_dead(ids)
    for i, item in ipairs(fresh) do
        local m = {
            id = item[1], deliveries = 0, position = position + i, priority = item[3],
            due = now + item[4], queue = item[2],
        }
        fields[2 * i - 1] = m.id
        fields[2 * i] = '0 0 ' .. m.position .. ' ' .. m.priority .. times(item[4]) .. item[5]
        lists[m.queue] = lists[m.queue] or {}
        place_new(m, item[4], lists, ranks)
    end
    push('HSET', G.messages, fields)
    for name, waiting in pairs(lists) do
        redis.call('SADD', G.queues, name)
        push('RPUSH', Q[name].list, waiting)
        if #waiting > 0 or ranks[name] then
            ring(Q[name])
        end
    end
end

-- As texts: Redis writes a number with all its decimals.
local ttl_texts = {}

local function keep(key, value, ttl)
    ttl_texts[ttl] = ttl_texts[ttl] or string.format('%d', math.max(1, ttl))
    redis.call('PSETEX', key, ttl_texts[ttl], value)
end

local function bury(m, info)
    redis.call('HSET', G.dead, m.id, head(m) .. '\n' .. now .. ' ' .. info .. '\n' .. m.body)
    redis.call('RPUSH', Q[m.queue].dead, m.id)
    redis.call('HDEL', G.messages, m.id)
    redis.call('SREM', G.cancelled, m.id)
end

-- Whether a message is a Django task, as `endings.FINDABLE` marks it.
local function is_findable(body)
    local is_read, message = pcall(cjson.decode, body)
    local options = is_read and type(message) == 'table' and message.options
    return type(options) == 'table' and options.django_task ~= nil
end

-- The verdict, and of a Django task the message in it: no dead letter keeps that.
local function with_message(verdict, text)
    local body = text and string.match(text, '^[^\n]*\n(.*)$')
    if not body or not is_findable(body) then
        return verdict
    end
    return string.sub(verdict, 1, -2) .. ',"at":' .. now .. ',"message":' .. body .. '}'
end

-- verdict: {result value, ttl} that whoever waits for a cancelled message gets to see.
local function finish_cancelled(id, result_key, verdict)
    local value = with_message(verdict[1], redis.call('HGET', G.messages, id))
    redis.call('HDEL', G.messages, id)
    redis.call('SREM', G.cancelled, id)
    keep(result_key, value, verdict[2])
end

local function first_due(zset)
    local found = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
    return found[2] and tonumber(found[2])
end

-- The position of a waiting message of the list, as the zsets write it; nothing if there is none.
local function place_in_list(queue, index)
    local id = redis.call('LINDEX', queue.list, index)
    local text = id and redis.call('HGET', G.messages, id)
    return text and ranked(split(id, text, queue.name))
end

local function oldest_due(zset, count)
    local oldest
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, count)) do
        if not oldest or member < oldest then
            oldest = member
        end
    end
    return oldest
end

-- Of very many that are due at once a part is promoted at a time. The next part waits while more than one claim of
-- older messages stands in front; only the first few are asked, because the rest is of about their age.
local function has_to_wait(queue, zset)
    local front = place_in_list(queue, CLAIM - 1)
    return front and front < oldest_due(zset, 64)
end

-- All that are due, or only those of another priority than the list's.
local function take_due(zset, only_ranked)
    local members, ids = {}, {}
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, MOST_PROMOTED)) do
        if not only_ranked or string.sub(member, 17, 17) == '!' then
            members[#members + 1], ids[#ids + 1] = member, string.sub(member, 18)
        end
    end
    push('ZREM', zset, members)
    return ids
end

local function put_due(ids, queue)
    local due = {}
    for i, text in ipairs(read_all(G.messages, ids)) do
        if text then
            due[#due + 1] = split(ids[i], text, queue.name)
        end
    end
    put_back(due)
end

-- They go to the front of the list; what is older and stands there is taken out and put back with them.
local function promote_from(zset, queue)
    local front, oldest = place_in_list(queue, 0), oldest_due(zset, MOST_PROMOTED)
    local ids = take_due(zset)
    if front and front < oldest then
        for _, id in ipairs(redis.call('LPOP', queue.list, CLAIM) or {}) do
            ids[#ids + 1] = id
        end
    end
    put_due(ids, queue)
end

-- Makes due messages ready; the milliseconds until the next one, nil if there is none.
local function promote(queue)
    local soonest
    for _, zset in ipairs({ queue.delayed, queue.retrying }) do
        local due = first_due(zset)
        if due and due <= now then
            if has_to_wait(queue, zset) then
                put_due(take_due(zset, true), queue) -- what stands in the list is not in their way
            else
                promote_from(zset, queue)
            end
            due = first_due(zset)
        end
        if due and (not soonest or due < soonest) then
            soonest = due
        end
    end
    return soonest and math.max(0, soonest - now)
end
