"""Answers that are kept: given out again for the same question, never a secret, never one that was refused."""

from __future__ import annotations

import functools
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pydantic
import pytest

from kairos_async import Budget, ConfigError, LLMCall, Step, TokenUsage
from kairos_async.adapters.cache import MemoryCache, SQLiteCache, cached
from kairos_async.adapters.prompt import ask
from tests.budgets.models import FakeModel
from tests.engine.tools import NO_RETRY, Events, chance, checked, retrying, run
from tests.security.fake_secrets import FORMATS

SECRET = "correct-horse-battery-staple-7"


class Verdict(pydantic.BaseModel):
    """What answers are to be."""

    ok: bool


async def test_the_same_question_is_asked_once() -> None:
    """A kept answer counts as no call, costs nothing, and passes every budget."""
    inner, events = FakeModel("first", "second"), Events()
    model = cached(inner, MemoryCache())
    steps = [Step("a", ask("hi", model)), Step("b", ask("hi", model), depends_on=["a"])]
    result = checked(await run(*steps, budget=Budget(llm_calls=1), hooks=[events]))
    a, b = (result.step_results[name].output for name in "ab")
    assert isinstance(a, dict)
    assert isinstance(b, dict)
    assert (a["text"], b["text"], inner.sent, result.llm_calls) == ("first", "first", 1, 1)
    assert b["metadata"] == {"cached": True}
    assert b["usage"]["total_tokens"] == 0  # type: ignore[index,call-overload]
    assert len([event for event in events if isinstance(event, LLMCall)]) == 1
    assert result.duration_ms == pytest.approx(1000)


async def test_another_question_is_another_question() -> None:
    """By prompt, system message, options, greatest length, form and model."""
    inner, other = FakeModel(takes=0), FakeModel(takes=0, model="gpt-5.5")
    cache = MemoryCache()
    model = cached(inner, cache)
    asked: list[dict[str, Any]] = [{}, {"max_tokens": 7}, {"options": {"seed": 1}}, {"contract": Verdict}]
    inner.answers = ['{"ok": true}']
    for more in asked * 2:
        await model.call("hi", **more)
    await model.call("ho")
    await model.call([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}])
    assert inner.sent == len(asked) + 2
    await cached(other, cache).call("hi")
    assert other.sent == 1


async def test_an_answer_that_its_step_refused_is_not_given_out_again() -> None:
    """Neither to the retry nor to the next run, which would fail for it again."""
    inner = FakeModel('{"ok": "perhaps"}', '{"ok": true}', '{"ok": false}', takes=0)
    step = Step("a", ask("hi", cached(inner, MemoryCache())), output_contract=Verdict, failure_policy=retrying(1))
    assert checked(await run(step)).output == {"ok": True}
    assert checked(await run(step)).output == {"ok": False}
    assert checked(await run(step)).output == {"ok": False}
    assert inner.sent == 3


async def test_an_answer_with_a_secret_in_it_is_not_kept() -> None:
    """One of the run, or anything that looks like a credential."""
    credential = FORMATS["AWS access key id"](chance("a key"))
    for answer in (f"the password is {SECRET}", f"use {credential}"):
        inner = FakeModel(answer, takes=0)
        step = Step("a", ask("hi", cached(inner, MemoryCache())), failure_policy=NO_RETRY)
        inputs = {"password": pydantic.SecretStr(SECRET)}
        for _ in range(2):
            await run(step, inputs=inputs, on_secret_output="allow")
        assert inner.sent == 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a cache may be."""
    return tmp_path / "answers.sqlite"


@pytest.mark.real_time
async def test_answers_in_a_file_outlive_the_process(file: Path) -> None:
    """And no text of a question is in it; only its owner may read it."""
    first, second = [await anyio.to_thread.run_sync(SQLiteCache, file) for _ in range(2)]
    inner = FakeModel("the answer", takes=0)
    question = "a question that nobody else shall know"
    assert (await cached(inner, first).call(question)).text == "the answer"
    kept = await cached(inner, second).call(question)
    assert (kept.text, kept.usage, inner.sent) == ("the answer", TokenUsage(0, 0, estimated_cost_usd=0.0), 1)
    for cache in (first, second):
        await anyio.to_thread.run_sync(cache.close)
    stored = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert b"the answer" in stored
    assert b"nobody else" not in stored
    assert file.stat().st_mode & 0o077 == 0  # noqa: ASYNC240


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_caches_end(file: Path, kind: str) -> None:
    """By age, and by number: the oldest answers go first."""
    now = [1_000.0]

    def clock() -> float:
        now[0] += 0.001
        return now[0]

    make: Any = MemoryCache if kind == "memory" else functools.partial(SQLiteCache, file)
    cache = await anyio.to_thread.run_sync(functools.partial(make, 2, 60, clock=clock))
    inner = FakeModel(takes=0)
    model = cached(inner, cache)
    for question in ("a", "b", "a", "b"):
        await model.call(question)
    assert inner.sent == 2
    for question in ("c", "b", "c"):
        await model.call(question)
    assert inner.sent == 3
    await model.call("a")
    assert inner.sent == 4
    now[0] += 60
    await model.call("a")
    assert inner.sent == 5
    if isinstance(cache, SQLiteCache):
        await anyio.to_thread.run_sync(cache.close)


async def test_streams_are_kept_at_their_end() -> None:
    """Not before, and given out in one piece."""
    inner = FakeModel("some words", takes=0)
    model = cached(inner, MemoryCache())
    pieces: list[list[str]] = []
    for _ in range(3):
        async with model.stream("hi") as answer:
            if not pieces:
                pieces.append([await anext(aiter(answer))])
                continue
            pieces.append([piece async for piece in answer])
        assert answer.response.text == "some words"
    assert (pieces, inner.sent) == ([["some"], ["some", "words"], ["some words"]], 2)


def test_caches_that_are_none(tmp_path: Path) -> None:
    """One clear error when they are made."""
    for wrong in (0, -1, 1.5):
        with pytest.raises(ConfigError, match="entries is not possible"):
            MemoryCache(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ttl=0"):
        MemoryCache(ttl=0)
    with pytest.raises(ConfigError, match="takes adapters"):
        cached("gpt-4o", MemoryCache())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"cached\(\) keeps answers in a MemoryCache.*'answers.sqlite'"):
        cached(FakeModel(), "answers.sqlite")  # type: ignore[arg-type]
    other = tmp_path / "notes.txt"
    other.write_text("no database at all, but long enough to be taken for one" * 20)
    with pytest.raises(ConfigError, match=r"notes.txt' cannot be used as a cache \(DatabaseError\)"):
        SQLiteCache(other)
    with pytest.raises(ConfigError, match="cannot be used as a cache"):
        SQLiteCache(tmp_path / "nowhere" / "answers.sqlite")
    assert sqlite3.sqlite_version_info >= (3, 24)
