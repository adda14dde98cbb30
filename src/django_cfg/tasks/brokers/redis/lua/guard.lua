-- KEYS: globals, time of the last sweep. ARGV: {longest gap, lease}.
-- Every session and whether its lease has ended; none has after a pause of the server or a step of its clock.
local ask = cmsgpack.unpack(ARGV[1])
local last = tonumber(redis.call('GET', KEYS[9]))
redis.call('SET', KEYS[9], now)
local is_trusted = last and now >= last and now - last <= ask[1]
local found = redis.call('ZRANGE', G.sessions, 0, -1, 'WITHSCORES')
local answer = {}
for i = 1, #found, 2 do
    if not is_trusted then
        redis.call('ZADD', G.sessions, now + ask[2], found[i])
    end
    answer[#answer + 1] = found[i]
    answer[#answer + 1] = (is_trusted and tonumber(found[i + 1]) < now) and 1 or 0
end
return answer
