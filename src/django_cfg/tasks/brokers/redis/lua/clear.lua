-- KEYS: globals, queue of the dead letters. ARGV: {{queue}, ids}. Deletes dead letters; how many.
local names, ids = unpack(cmsgpack.unpack(ARGV[1]))
bind(names, 9)
local gone = 0
for _, id in ipairs(ids) do
    redis.call('LREM', Q[names[1]].dead, 1, id)
    gone = gone + redis.call('HDEL', G.dead, id)
end
return gone
