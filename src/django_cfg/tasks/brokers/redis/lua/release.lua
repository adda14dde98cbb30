-- KEYS: globals, session, held, queues, result keys. ARGV: {session, queues, ids, is_closing, verdict}
-- Gives claims back uncounted.
local session, names, ids, is_closing, verdict = unpack(cmsgpack.unpack(ARGV[1]))
local held, ready = KEYS[10], {}
bind(names, 11)
for i, entry in ipairs(read_all(held, ids)) do
    local text = entry and redis.call('HGET', G.messages, ids[i])
    if entry then
        local fence, _, queue = string.match(entry, '^(%d+) (%d+) (%S+) ')
        redis.call('HDEL', held, ids[i])
        redis.call('HINCRBY', G.running, queue, -1)
        if text and redis.call('SISMEMBER', G.cancelled, ids[i]) == 1 then
            finish_cancelled(ids[i], KEYS[10 + 7 * #names + i], verdict)
        elseif text then
            local m = split(ids[i], text, queue)
            m.claims = tonumber(fence)
            save(m)
            ready[#ready + 1] = m
        end
    end
end
put_back(ready)
if is_closing then
    redis.call('DEL', KEYS[9])
    redis.call('ZREM', G.sessions, session)
end
return #ready
