"""Limits counted in Valkey: one script decides on all limits of a call, by the server's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..stores import valkey_client
from .rules import CalendarQuota, Concurrency, Decision, Gcra, Rule, Verdict, settle
from .store import Key, Limit, digest, wall_clock

__all__ = ["ValkeyLimits"]

CONNECTIONS = 64
ALLOWED, REFUSED, OTHER_TIME = 1, 0, -1

# Each limit has four arguments. rate: interval, span. quota: limit, and three bounds of two windows that were right by
# the gateway's clock. concurrency: limit, lease, id. The twins of rules.py: change both, the same tests run over them.
# tostring() would round instants: it gives 14 digits, they have 16.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local verdict, answer, writes = 1, {}, {}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local kind, a, b = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local c, d = ARGV[at + 4], ARGV[at + 5]
  local allowed, remaining, reset, retry = 1, 0, -1, 0
  if kind == 'rate' then
    local full = now + b
    local arrival = math.min(math.max(tonumber(redis.call('GET', key) or now), now), full)
    local after = arrival + a
    if after > full then
      allowed, reset, retry = 0, after - full, after - full
      writes[i] = {'set', string.format('%.0f', arrival), arrival - now}
    else
      remaining, reset = math.floor((full - after) / a), after - now
      writes[i] = {'set', string.format('%.0f', after), after - now}
    end
  elseif kind == 'quota' then
    local ends, used = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
    ends, used = tonumber(ends or 0), tonumber(used or 0)
    if now >= ends then
      c, d, used = tonumber(c), tonumber(d), 0
      if now < b or now >= d then return {-1, now} end
      ends = now < c and c or d
    end
    reset = ends - now
    if used >= a then
      allowed, retry = 0, reset
    else
      remaining = a - used - 1
      writes[i] = {'set', string.format('%.0f %d', ends, used + 1), reset}
    end
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local inside = redis.call('ZCARD', key)
    if redis.call('ZSCORE', key, c) then inside = inside - 1 end
    if inside >= a then
      allowed, retry = 0, 1000000
    else
      remaining = a - inside - 1
      writes[i] = {'add', c, b}
    end
  end
  if allowed == 0 then verdict = 0 end
  answer[i] = {allowed, remaining, reset, retry}
end
for i, write in pairs(writes) do
  if verdict == 1 or answer[i][1] == 0 then
    local ttl = math.max(1, math.ceil(write[3] / 1000))
    if write[1] == 'set' then
      redis.call('SET', KEYS[i], write[2], 'PX', ttl)
    else
      redis.call('ZADD', KEYS[i], now + write[3], write[2])
      redis.call('PEXPIRE', KEYS[i], ttl)
    end
  end
end
return {verdict, now, answer}
"""

GIVE_BACK = """
for i, key in ipairs(KEYS) do
  local kind, a = ARGV[i * 2 - 1], ARGV[i * 2]
  if kind == 'concurrency' then
    redis.call('ZREM', key, a)
  else
    local held = redis.call('GET', key)
    if held and kind == 'rate' then
      redis.call('SET', key, string.format('%.0f', tonumber(held) - tonumber(a)), 'KEEPTTL')
    elseif held then
      local ends, used = string.match(held, '^(%d+) (%d+)$')
      redis.call('SET', key, string.format('%s %d', ends, math.max(0, tonumber(used) - 1)), 'KEEPTTL')
    end
  end
end
"""


class ValkeyLimits:
    """Limits of ``gateway`` in the Valkey at ``url``; every replica of it counts in the same.

    Keys are ``{bff:gateway}:limit:`` and a digest: the braces (a hash tag) put all of a gateway on one node of a
    cluster, where one script can see them. Each has a time to live. For one event loop.
    """

    def __init__(self, url: str, gateway: str, *, clock: Callable[[], int] = wall_clock) -> None:
        self._client = valkey_client(url, connections=CONNECTIONS)
        self._take = self._client.register_script(TAKE)
        self._give_back = self._client.register_script(GIVE_BACK)
        self._prefix = f"{{bff:{gateway}}}:limit:"
        self._clock = clock
        self._skew = 0  # what the server's clock is ahead of ours; only guesses depend on it
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def take(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        """As ``SharedLimits.take``."""
        names = self._names(keys)
        now = self._clock() + self._skew
        while True:
            arguments = [value for limit in limits for value in _arguments(limit.rule, now, lease)]
            async with self._free:
                status, now, *rest = await self._take(names, arguments)
            if status != OTHER_TIME:
                break
            self._skew = now - self._clock()
        verdicts = [
            Verdict(allowed == ALLOWED, None, remaining, None if reset < 0 else reset, retry_after)
            for allowed, remaining, reset, retry_after in rest[0]
        ]
        return settle([limit.name for limit in limits], verdicts)

    async def give_back(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> None:
        """As ``SharedLimits.give_back``."""
        arguments: list[str | int] = []
        for limit in limits:
            rule = limit.rule
            if isinstance(rule, Gcra):
                arguments += ("rate", rule.interval)
            elif isinstance(rule, CalendarQuota):
                arguments += ("quota", 0)
            else:
                arguments += ("concurrency", lease)
        async with self._free:
            await self._give_back(self._names(keys), arguments)

    async def aclose(self) -> None:
        """Close the connections."""
        with suppress(Exception):
            await self._client.aclose()

    def _names(self, keys: Sequence[Key]) -> list[str]:
        return [self._prefix + digest(key) for key in keys]


def _arguments(rule: Rule, now: int, lease: str) -> tuple[str | int, ...]:
    if isinstance(rule, Gcra):
        return "rate", rule.interval, rule.span, 0, 0
    if isinstance(rule, CalendarQuota):
        return "quota", rule.limit, *rule.ends(now)
    if isinstance(rule, Concurrency):
        return "concurrency", rule.limit, rule.lease, lease, 0
    raise TypeError(type(rule).__name__)
