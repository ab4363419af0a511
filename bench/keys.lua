-- The load's keys: each one new, or a few of them often (Zipf, s = 1.1, of 10,000). Tells the outcome as JSON.
local kind, path, number = "distinct", "/products/p%d", 0
local sample, at = {}, 0

function init(args)
  kind, path = args[1], args[2]
  math.randomseed(tonumber(args[3]) or 1)
  number = (tonumber(args[3]) or 1) * 100000000
  if kind == "zipf" then
    local sums, total = {}, 0
    for rank = 1, 10000 do
      total = total + 1 / rank ^ 1.1
      sums[rank] = total
    end
    for n = 1, 50000 do
      local wanted, low, high = math.random() * total, 1, 10000
      while low < high do
        local middle = math.floor((low + high) / 2)
        if sums[middle] < wanted then low = middle + 1 else high = middle end
      end
      sample[n] = low
    end
  end
end

function request()
  if kind == "zipf" then
    at = at % #sample + 1
    return wrk.format("GET", string.format(path, sample[at]))
  end
  number = number + 1
  return wrk.format("GET", string.format(path, number))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
