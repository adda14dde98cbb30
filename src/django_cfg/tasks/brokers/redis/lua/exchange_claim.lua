-- The second part of an exchange: new claims.

local taken, held_fields = { ids = {}, fences = {}, texts = {} }, {}

local function next_fence(text)
    if string.sub(text, 1, 2) == '0 ' then
        return 1
    end
    return (string.match(text, '^%d+') or 0) + 1
end

local function hand_out(queue, ids)
    local count, behind = 0, ' ' .. seq .. ' ' .. queue.name .. ' ' .. now
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
