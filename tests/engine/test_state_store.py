"""The state store on its own: one version per writer, all or nothing, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async import ScopeError, StateError, StateLimits, StateStore
from kairos_async._types import MISSING
from kairos_async.state import MAX_INT_BITS, read_copy, store_copy


def below(*names: str) -> Callable[[str], bool]:
    """Return the `upstream` of a reader that runs after these steps."""
    return frozenset(names).__contains__


def test_a_reader_gets_the_newest_version_of_a_writer_upstream() -> None:
    """Whatever was written since by others."""
    store = StateStore({"k": "input"})
    store.commit("a", {"k": "from a"}, 1, below())
    store.commit("b", {"k": "from b"}, 1, below("a"))
    assert store.read("k", below()) == "input"
    assert store.read("k", below("a")) == "from a"
    assert store.read("k", below("a", "b")) == "from b"
    assert store.read("nothing", below("a", "b")) is MISSING
    assert store.snapshot() == {"k": "from b"}


def test_each_key_keeps_one_version_for_each_writer() -> None:
    """A chain a, b, c wrote the key; a reader gets the newest whose writer is upstream, wherever it stands."""
    store = StateStore({"k": "input"})
    for writer, before in (("a", ()), ("b", ("a",)), ("c", ("a", "b"))):
        store.commit(writer, {"k": f"from {writer}", f"only {writer}": 1}, 2, below(*before))
    assert store.read("k", below("a")) == "from a"
    assert store.read("k", below("a", "b")) == "from b"
    assert store.read("k", below("a", "c")) == "from c"
    assert store.read("k", below("b")) == "from b"
    assert store.read("k", below("x")) == "input"
    assert (store.read("only b", below("a")), store.read("only b", below("b"))) == (MISSING, 1)


def test_without_an_input_a_reader_beside_all_writers_finds_nothing() -> None:
    """However many versions there are, and `keys` says the same."""
    store = StateStore({"other": 0})
    store.commit("a", {"k": "from a"}, 1, below())
    store.commit("b", {"k": "from b"}, 1, below("a"))
    assert store.read("k", below("x")) is MISSING
    assert sorted(store.keys(below("x"))) == ["other"]
    assert sorted(store.keys(below("a"))) == ["k", "other"]


def test_versions_of_different_keys_do_not_mix() -> None:
    """Each key has versions of its own, and its own order of writers."""
    store = StateStore({"k": "k0", "m": "m0"})
    store.commit("a", {"k": "ka"}, 1, below())
    store.commit("b", {"k": "kb", "m": "mb"}, 2, below("a"))
    store.commit("c", {"m": "mc"}, 1, below("a", "b"))
    read = {names: (store.read("k", below(*names)), store.read("m", below(*names))) for names in ("", "a", "ab", "abc")}
    assert read == {"": ("k0", "m0"), "a": ("ka", "m0"), "ab": ("kb", "mb"), "abc": ("kb", "mc")}


def test_a_later_write_of_the_same_writer_keeps_the_older_ones_of_others() -> None:
    """A step that writes twice, as one that a re-plan runs again, hides nothing from those that ran before it."""
    store = StateStore({})
    store.commit("a", {"k": 1}, 1, below())
    store.commit("b", {"k": 2}, 1, below("a"))
    store.commit("b", {"k": 3}, 1, below("a"))
    assert store.read("k", below("a")) == 1
    assert store.read("k", below("a", "b")) == 3


def test_an_output_under_the_name_of_an_older_key_leaves_that_to_those_who_could_read_it() -> None:
    """A planner can add a step with the name of a key that another step has written."""
    store = StateStore()
    store.commit("a", {"b": "a's"}, 3)
    store.commit_output("b", "b's", 3)
    assert store.read("b", below("a")) == "a's"
    assert store.read("b", below("a", "b")) == store.snapshot()["b"] == "b's"
    assert store.read("b", below("c")) is MISSING
    store.commit("c", {"d": 1}, 1)
    store.commit("d", {"e": 1}, 1)
    assert store.read("d", below("c")) == 1
    assert store.read("d", below("d")) is MISSING


def test_a_refused_commit_leaves_every_version_as_it_was() -> None:
    """What it would have replaced is not filed as older either."""
    store = StateStore({"k": "input"}, StateLimits(total_bytes=100))
    store.commit("a", {"k": "from a"}, 8, below())
    with pytest.raises(StateError, match="limit is 100"):
        store.commit("b", {"k": "x" * 90}, 90, below("a"))
    with pytest.raises(ScopeError):
        store.commit("c", {"k": "from c"}, 8, below())
    assert store.read("k", below("b", "c")) == "input"
    assert store.read("k", below("a", "b", "c")) == "from a"


def test_keys_are_those_that_the_reader_can_read() -> None:
    """Not those of writers beside it."""
    store = StateStore({"i": 1})
    store.commit("a", {"x": 1}, 1, below())
    assert (sorted(store.keys(below())), sorted(store.keys(below("a")))) == (["i"], ["i", "x"])


def test_a_refused_commit_stores_nothing_of_it() -> None:
    """All or nothing, for a conflict and for the limit alike."""
    store = StateStore({}, StateLimits(total_bytes=100))
    store.commit("a", {"k": 1}, 8, below())
    with pytest.raises(ScopeError, match="Steps 'a' and 'b' both write key 'k'"):
        store.commit("b", {"new": 2, "k": 2}, 16, below())
    with pytest.raises(StateError, match="limit is 100"):
        store.commit("c", {"new": 2}, 93, below())
    assert store.snapshot() == {"k": 1}
    store.commit("c", {"new": 2}, 92, below())


def test_commits_from_many_threads_are_all_there_and_never_over_the_limit() -> None:
    """A lock guards what is read and written together."""
    store = StateStore({}, StateLimits(total_bytes=2_000))
    refused: list[int] = []

    def work(number: int) -> None:
        for n in range(100):
            try:
                store.commit(f"s{number}", {f"k{number}_{n}": n}, 5, below())
            except StateError:
                refused.append(n)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.snapshot()) == 400
    assert len(refused) == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=3), parts, max_size=4),
    max_leaves=12,
)


def containers(value: Any) -> set[int]:
    """Return the identities of all lists and dicts in a value."""
    found: set[int] = set()
    if isinstance(value, (list, dict)):
        found.add(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            found |= containers(part)
    return found


def size_of(value: Any) -> int:
    """Return the size that `StateLimits` documents, computed in the plainest way."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(8 + len(key.encode()) + size_of(part) for key, part in value.items())
    if isinstance(value, list):
        return sum(8 + size_of(part) for part in value)
    return 8


@given(JSON.filter(lambda value: "inf" not in repr(value)))
def test_a_stored_copy_is_equal_shares_nothing_and_has_its_documented_size(value: Any) -> None:
    """For any JSON value."""
    copied, size = store_copy(value, 10**6, "subject")
    assert repr(copied) == repr(value)
    assert not containers(copied) & containers(value)
    assert size == size_of(value)


@given(JSON, JSON, st.integers(1, 6))
def test_a_copy_that_is_read_is_equal_and_shares_nothing(first: Any, second: Any, times: int) -> None:
    """Nor does a list that is long enough to be looked at as a list of records."""
    stored = [first, *[second] * times]
    read = read_copy(stored)
    assert repr(read) == repr(stored)
    assert not containers(read) & containers(stored)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("within", [lambda n: n, lambda n: [n], lambda n: {"k": n}])
def test_an_integer_has_the_same_limit_wherever_it_stands(within: Callable[[int], Any], sign: int) -> None:
    """And one of the largest is kept as it is."""
    largest = sign * ((1 << MAX_INT_BITS) - 1)
    assert store_copy(within(largest), 100, "subject")[0] == within(largest)
    with pytest.raises(StateError, match="is an integer of more than"):
        store_copy(within(largest + sign), 100, "subject")


@given(JSON.filter(lambda value: "inf" not in repr(value)), st.integers(1, 200))
def test_the_limit_is_exact(value: Any, limit: int) -> None:
    """A value of the limit's size fits, one byte more does not."""
    if size_of(value) <= limit:
        store_copy(value, limit, "subject")
    else:
        with pytest.raises(StateError, match=r"(?s)^subject: the value at \$.*larger than the limit") as refused:
            store_copy(value, limit, "subject")
        assert str(refused.value).endswith(f"limit of {limit} bytes. Store less, or raise StateLimits(value_bytes=).")


def test_a_key_with_a_lone_surrogate_is_refused() -> None:
    """No file and no socket could take it."""
    with pytest.raises(StateError, match="lone surrogate"):
        store_copy({"\udc00": 1}, 1000, "subject")


@pytest.mark.parametrize("key", ["\udc00", "a\ud800b", 3, None])
def test_input_keys_are_text(key: Any) -> None:
    """A surrogate in a key of the inputs is refused as one inside a value is."""
    with pytest.raises(StateError, match="Input"):
        StateStore({key: 1})


def test_the_keys_of_inputs_count_towards_the_total() -> None:
    """Hard limits are in bytes, keys included."""
    with pytest.raises(StateError, match="limit is 100"):
        StateStore({"k" * 99: 1}, StateLimits(total_bytes=100))


def test_the_name_of_a_step_counts_towards_the_total() -> None:
    """Its output is stored under it."""
    store = StateStore({}, StateLimits(total_bytes=10))
    with pytest.raises(StateError, match="limit is 10"):
        store.commit_output("abc", 1, 8)
    store.commit_output("ab", 1, 8)
    assert store.snapshot() == {"ab": 1}


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.commit("c", {"k": 3}, 8, below("a", "b")),
        lambda store: store.commit_output("c", 3, 8),
        lambda store: store.read("k", below("a", "b")),
        lambda store: list(store.keys(below("a", "b"))),
        lambda store: store.snapshot(),
    ],
    ids=["commit", "commit_output", "read", "keys", "snapshot"],
)
def test_nobody_comes_between_the_reading_and_the_writing_of_a_commit(use: Callable[[StateStore], object]) -> None:
    """Whatever another thread wants of the store, it waits until a commit is whole."""
    store = StateStore()
    store.commit("a", {"k": 1}, 8)
    done = threading.Event()

    def want() -> None:
        use(store)
        done.set()

    other = threading.Thread(target=want)

    def upstream(writer: str) -> bool:
        """Answer in the middle of the commit."""
        other.start()
        assert not done.wait(0.02)
        return True

    store.commit("b", {"k": 2}, 8, upstream)
    other.join(5)
    assert done.is_set()
