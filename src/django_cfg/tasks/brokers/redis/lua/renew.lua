-- KEYS: globals, session, held. ARGV: {session, lease}. The ids that the session holds; false if it has ended.
local ask = cmsgpack.unpack(ARGV[1])
if not redis.call('ZSCORE', G.sessions, ask[1]) then
    return false
end
redis.call('ZADD', G.sessions, now + ask[2], ask[1])
return redis.call('HKEYS', KEYS[10])
