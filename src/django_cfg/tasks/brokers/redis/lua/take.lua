-- KEYS: globals, session, held, queues, result keys.
-- ARGV: {session, must_be_expired, queues, claims, verdict}; claims: {id, most deliveries, info, result, ttl}
-- Takes the claims of a lost session away: each counts as a delivery. What died of it: id, fence, text, ...
local session, must_be_expired, names, claims, verdict = unpack(cmsgpack.unpack(ARGV[1]))
local held, ready, died = KEYS[10], {}, {}
local result_keys = 10 + 7 * #names
bind(names, 11)
local lease = tonumber(redis.call('ZSCORE', G.sessions, session))
if not lease or (must_be_expired and lease >= now) or redis.call('HLEN', held) ~= #claims then
    return false
end

local function count_delivery(i, claim, m)
    m.deliveries = m.deliveries + 1
    if m.deliveries >= claim[2] then
        bury(m, claim[3])
        keep(KEYS[result_keys + i], claim[4], claim[5])
        died[#died + 1] = m.id
    else
        save(m)
        ready[#ready + 1] = m
    end
end

for i, claim in ipairs(claims) do
    local entry, text = redis.call('HGET', held, claim[1]), redis.call('HGET', G.messages, claim[1])
    local fence, _, queue = string.match(entry or '', '^(%d+) (%d+) (%S+) ')
    if fence then
        redis.call('HINCRBY', G.running, queue, -1)
    end
    if fence and text and redis.call('SISMEMBER', G.cancelled, claim[1]) == 1 then
        finish_cancelled(claim[1], KEYS[result_keys + i], verdict)
    elseif fence and text then
        local m = split(claim[1], text, queue)
        m.claims = tonumber(fence)
        count_delivery(i, claim, m)
    end
end
put_back(ready)
redis.call('DEL', KEYS[9], held)
redis.call('ZREM', G.sessions, session)
return died
