-- The last part of an exchange: both others in their order, and the answer.

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
