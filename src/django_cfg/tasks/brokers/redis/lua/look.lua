-- KEYS: globals, queues. ARGV: {queues}. Milliseconds until the next message can run: 0 now, -1 none. Writes nothing.
local names = cmsgpack.unpack(ARGV[1])
bind(names, 9)
local soonest = -1
for _, name in ipairs(names) do
    local queue = Q[name]
    if not is_paused(queue) then
        for _, due in ipairs({ has_work(queue) and now or false, first_due(queue.delayed) or false,
                               first_due(queue.retrying) or false }) do
            local left = due and math.max(0, due - now)
            if left and (soonest < 0 or left < soonest) then
                soonest = left
            end
        end
    end
end
return soonest
