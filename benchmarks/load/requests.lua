-- Requests with the tokens of a file in turn, and what became of them as one line of JSON.
local prepared, turn = {}, 0

function init(arguments)
   for token in io.lines(arguments[1]) do
      local headers = {Authorization = "Bearer " .. token}
      table.insert(prepared, wrk.format("GET", "/", headers))
   end
end

function request()
   turn = turn % #prepared + 1
   return prepared[turn]
end

function done(summary, latency)
   local errors = summary.errors
   local lost = errors.connect + errors.read + errors.write + errors.timeout
   io.write(string.format(
      '{"answers": %d, "seconds": %f, "refused": %d, "lost": %d}\n',
      summary.requests, summary.duration / 1e6, errors.status, lost))
end
