"""The governor: within what a provider allows, close to it, and fair, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kairos_async import ConfigError, ModelRateLimitError, ModelUnavailableError
from kairos_async.adapters.governor import Governor, RateLimit, current_governor
from tests.budgets.provider import Provider

CALLS = 500


async def test_requests_a_minute() -> None:
    """Nothing is refused, and at least nine tenths of what is allowed is used."""
    provider = Provider(requests=120)
    governor = Governor({"test": RateLimit(requests=120)})
    took = await provider.fan(governor, CALLS)
    assert provider.rejected == 0
    assert CALLS / took >= 0.9 * 120 / 60


async def test_tokens_a_minute_with_estimates_that_are_far_too_high() -> None:
    """What calls really use is learned, so that the pace is that of their use and not of their fears."""
    provider = Provider(tokens=12_000, uses=100)
    governor = Governor({"test/m": RateLimit(tokens=12_000)})
    took = await provider.fan(governor, CALLS, tokens=1_000)
    assert provider.rejected <= CALLS * 0.02
    assert CALLS / took >= 0.9 * 12_000 / 100 / 60


async def test_both_limits_and_only_one_of_them_known() -> None:
    """A 429 with a Retry-After stops everybody on the model until then; the pace is then that of the provider."""
    provider = Provider(requests=600, tokens=120_000, uses=400)
    governor = Governor({"test": RateLimit(requests=600)})
    took = await provider.fan(governor, CALLS, tokens=400)
    assert provider.violations == 0
    assert provider.rejected <= CALLS * 0.02
    assert CALLS / took >= 0.9 * 120_000 / 400 / 60


async def test_limits_are_learned_from_headers() -> None:
    """With nothing known beforehand, the first answers say it all."""
    provider = Provider(requests=120, tells_limits=True)
    took = await provider.fan(Governor(), CALLS)
    assert provider.rejected <= CALLS * 0.02
    assert CALLS / took >= 0.9 * 120 / 60


@pytest.mark.parametrize("says_when", [True, False])
@pytest.mark.parametrize("limits", [{"requests": 100}, {"tokens": 14_000, "uses": 140}])
async def test_limits_are_learned_from_refusals_alone(limits: dict[str, Any], says_when: bool) -> None:
    """The first refusal tells what is allowed: what was taken until then. It is counted as soon as it is sent, so that
    it does not matter how long answers take."""
    provider = Provider(**limits, takes=2.0, says_when=says_when)
    took = await provider.fan(Governor(), CALLS, tokens=140)
    assert provider.rejected <= CALLS * 0.02
    assert CALLS / took >= 0.9 * 100 / 60
    if says_when:
        assert provider.violations == 0


async def test_what_is_not_known_is_approached_step_by_step() -> None:
    """When the first refusal comes, only few calls that will be refused, too, are under way to the provider."""
    provider = Provider(requests=1000, way=0.1, takes=0.5)
    async with anyio.create_task_group() as tasks:
        governor = Governor()
        for _ in range(2000):
            tasks.start_soon(provider.call, governor)
        await anyio.sleep(30)
        tasks.cancel_scope.cancel()
    assert 1000 < len(provider.sent_at) <= 1100


async def test_a_limit_that_is_set_too_high_is_taken_down() -> None:
    """Others may use the same key: a refusal slows the pace, and calls without one bring it back by and by."""
    provider = Provider(requests=100)
    took = await provider.fan(Governor({"test": RateLimit(requests=200)}), CALLS)
    assert provider.violations == 0
    assert provider.rejected <= CALLS * 0.1
    assert CALLS / took >= 0.7 * 100 / 60


async def test_concurrency() -> None:
    """At most so many calls are under way; a model's own limit goes before its provider's."""
    for limits in ({"test": RateLimit(concurrency=7)}, {"test/m": RateLimit(concurrency=7), "test": RateLimit()}):
        provider = Provider()
        took = await provider.fan(Governor(limits), 70)
        assert provider.peak == 7
        # The window starts small and grows with each answer; it is at seven all the time.
        assert took == pytest.approx(10)


async def test_a_retry_after_pauses_everybody_on_that_model_and_nobody_else() -> None:
    """Also those who had been in the queue before."""
    provider, governor = Provider(), Governor({"test": RateLimit(concurrency=1)})
    other: list[float] = []

    async def refused() -> None:
        with pytest.raises(ModelRateLimitError):
            async with governor.admit("test", "m", 0):
                raise ModelRateLimitError("test", "m", "too much", retry_after=50)

    async def elsewhere() -> None:
        async with governor.admit("test", "another", 0):
            other.append(anyio.current_time())

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refused)
        await anyio.sleep(0.1)
        tasks.start_soon(elsewhere)
        for _ in range(3):
            tasks.start_soon(provider.call, governor)
    assert [at - started for at in other] == [pytest.approx(0.1)]
    assert [at - started for at in provider.sent_at] == [pytest.approx(t) for t in (50, 51, 52)]


async def test_a_pause_longer_than_its_patience_is_told_to_the_steps() -> None:
    """Those who wait already are told, too, with the seconds that are left."""
    governor = Governor({"test": RateLimit(concurrency=1)}, patience=100)
    told: list[float | None] = []

    async def ask() -> None:
        try:
            async with governor.admit("test", "m", 0):
                await anyio.sleep(1)
                raise ModelRateLimitError("test", "m", "come back tomorrow", retry_after=1000)
        except ModelRateLimitError as error:
            told.append(error.retry_after)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    await anyio.sleep(9)
    await ask()
    assert told == [pytest.approx(s) for s in (1000, 1000, 1000, 991)]


async def test_the_longest_remaining_path_goes_first_then_the_oldest_run() -> None:
    """Only those who wait are put in order; a cancelled one leaves its place."""
    provider, governor = Provider(), Governor({"test": RateLimit(concurrency=1)})
    order: list[str] = []

    async def ask(name: str, urgency: tuple[float, int]) -> None:
        await provider.call(governor, urgency=urgency)
        order.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "first", (0.0, 9))
        await anyio.sleep(0.1)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as doomed:
                doomed.start_soon(ask, "cancelled", (99.0, 0))
                await anyio.sleep(0.1)
                scope.cancel()
        for name, urgency in {"new": (1.0, 5), "long": (7.0, 6), "old": (1.0, 4), "short": (0.5, 1)}.items():
            tasks.start_soon(ask, name, urgency)
    assert order == ["first", "long", "old", "new", "short"]


async def test_a_cancelled_call_gives_its_place_back() -> None:
    """Under way or in the queue."""
    provider, governor = Provider(takes=10), Governor({"test": RateLimit(concurrency=2)})
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(provider.call, governor)
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    await provider.fan(governor, 2)
    assert anyio.current_time() - started == pytest.approx(11)


async def test_the_circuit_opens_and_closes_again() -> None:
    """Five failures in a row, and nobody is sent for half a minute; then one call tries."""
    provider, governor = Provider(takes=0.1), Governor({"test": RateLimit(concurrency=1)}, failures=5, cooldown=30)
    provider.broken = True
    errors: list[ModelUnavailableError] = []

    async def ask() -> None:
        try:
            await provider.call(governor)
        except ModelUnavailableError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(9):
            tasks.start_soon(ask)
    assert (len(provider.sent_at), len(errors)) == (5, 9)
    assert errors[-1].retry_after == pytest.approx(30)
    assert "not asked, because the last calls found it in trouble" in str(errors[-1])

    await anyio.sleep(31)
    await ask()  # one try, in vain
    assert len(provider.sent_at) == 6
    await ask()
    assert len(provider.sent_at) == 6


async def test_failures_of_calls_that_were_under_way_count_once() -> None:
    """A hundred calls that fail together open the circuit for one cool-down, and a single success closes it."""
    provider, governor = Provider(), Governor({"test": RateLimit(concurrency=100)}, cooldown=30)
    provider.broken = True

    async def ask() -> None:
        with pytest.raises(ModelUnavailableError):
            await provider.call(governor)

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    provider.broken = False
    await anyio.sleep(30)
    # One by itself, then all the others together.
    assert await provider.fan(governor, 100) == pytest.approx(2)


async def test_it_governs_the_event_loop_on_which_it_is_entered() -> None:
    """And one inside of another takes over for as long as it is there."""
    assert current_governor() is None
    async with Governor() as outer:
        assert current_governor() is outer
        with pytest.raises(ConfigError, match="entered once"):
            await outer.__aenter__()
        async with Governor() as inner:
            assert current_governor() is inner
        assert current_governor() is outer
    assert current_governor() is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"requests": 0}, "requests=0 must be a whole number >= 1"),
        ({"tokens": -1}, "tokens=-1"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"period": 0}, "period=0 must be a finite number of seconds > 0"),
        ({"period": float("inf")}, "period=inf"),
    ],
)
def test_a_rate_limit_that_is_none(wrong: dict[str, Any], message: str) -> None:
    """One clear error when it is made."""
    with pytest.raises(ConfigError, match=f"RateLimit: {message}"):
        RateLimit(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"limits": {"x": 5}}, {"limits": ["x"]}, {"failures": 0}, {"cooldown": 0}, {"patience": float("nan")}],
)
def test_a_governor_that_is_none(wrong: dict[str, Any]) -> None:
    """The same."""
    with pytest.raises(ConfigError, match=f"Governor: {next(iter(wrong))}"):
        Governor(**wrong)
