-- KEYS: globals, held, result key, queue. ARGV: {{queue}, id, fence, info, result, ttl}
-- Moves a claimed message that nobody can read to the dead letters.
local names, id, fence, info, result, ttl = unpack(cmsgpack.unpack(ARGV[1]))
bind(names, 11)
local entry, text = redis.call('HGET', KEYS[9], id), redis.call('HGET', G.messages, id)
if not entry or not text or tonumber(string.match(entry, '^%d+')) ~= fence then
    return 0
end
redis.call('HDEL', KEYS[9], id)
redis.call('HINCRBY', G.running, names[1], -1)
bury(split(id, text, names[1]), info)
keep(KEYS[10], result, ttl)
return 1
