-- KEYS: globals, queues. ARGV: {queues}. Puts a token back where there is work.
local names = cmsgpack.unpack(ARGV[1])
bind(names, 9)
for _, name in ipairs(names) do
    if has_work(Q[name]) or redis.call('EXISTS', Q[name].suspects) == 1 then
        ring(Q[name])
    end
end
return 1
