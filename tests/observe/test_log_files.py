"""Log files: what is written is read back as it was, whole or torn; nobody else's file is touched or shown."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async import ConfigError, Event, EventLevel, SecurityError, Step, StepStart, Workflow, WorkflowStatus
from kairos_async.observe import FileSink, JSONLinesSink, RunLog, files, read_log, read_logs
from kairos_async.observe.files import LogPath, LogWriteError
from kairos_async.observe.lines import decode, encode, lines_of
from kairos_async.observe.runlog import log_of
from tests.engine.tools import NO_RETRY, Events, flaky, raises, retrying, returns


def events_of_a_run(items: int = 2) -> Events:
    """Return the events of a run in which something of most kinds happens."""
    events = Events()
    steps = [
        Step("a", flaky(1), failure_policy=retrying(1, 0)),
        Step("b", returns(1), foreach="items", output_contract=int),
        Step("c", returns({"text": "line\u2028one\nline two\x7f"}), depends_on=["a"]),
        Step("d", raises(ValueError("no")), depends_on=["a", "b", "c"], failure_policy=NO_RETRY),
        Step("e", returns(1), depends_on=["d"]),
    ]
    Workflow("hello", steps, hooks=[events]).run_sync({"items": list(range(items))})
    return events


EVENTS = events_of_a_run()


def written(sink: JSONLinesSink | FileSink, events: list[Event] = EVENTS) -> None:
    """Give the events to a sink, as one that is used without a logger."""
    for event in events:
        sink.emit(event)
    sink.flush()


@pytest.mark.parametrize("kind", [JSONLinesSink, FileSink])
def test_a_log_is_read_back_as_it_was(kind: type[JSONLinesSink | FileSink], tmp_path: Path) -> None:
    """Typed, equal events; the same counts; nothing missing."""
    written(kind(tmp_path / "run.log"))
    log = read_log(tmp_path / "run.log")
    assert list(log.events) == EVENTS
    assert [type(event) for event in log.events] == [type(event) for event in EVENTS]
    assert log == log_of(EVENTS[0].run_id, EVENTS)
    assert (log.workflow_name, log.status, log.interrupted) == ("hello", WorkflowStatus.FAILED, False)
    assert (log.dropped, log.unread) == (0, 0)
    assert log.ended_at == EVENTS[-1].timestamp


def test_the_summary_counts_what_happened() -> None:
    """Steps, items, retries, validations, durations."""
    summary = log_of("r", EVENTS).summary
    counts = dataclasses.asdict(summary)
    assert set(counts.pop("step_durations_ms")) == {"a", "b", "c", "d"}
    assert counts.pop("duration_ms") == EVENTS[-1].data["duration_ms"]
    assert {name: count for name, count in counts.items() if count} == {
        "steps": 5,
        "steps_completed": 3,
        "steps_failed": 1,
        "steps_skipped": 1,
        "items_completed": 2,
        "total_retries": 1,
        "validations_passed": 2,
    }


def test_each_line_is_json_and_has_a_schema_version(tmp_path: Path) -> None:
    """One line for each event, whatever line breaks its data has."""
    written(JSONLinesSink(tmp_path / "run.jsonl"))
    content = (tmp_path / "run.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["event_type"] for line in lines] == [event.event_type for event in EVENTS]
    assert {line["schema_version"] for line in lines} == {1}
    assert "\x7f" not in content


def test_a_whole_log_is_one_document(tmp_path: Path) -> None:
    """The summary is in it for readers that know no Python."""
    written(FileSink(tmp_path / "run.json"))
    document = json.loads((tmp_path / "run.json").read_text("utf-8"))
    log = log_of(EVENTS[0].run_id, EVENTS)
    assert document == json.loads(json.dumps(log.to_dict()))
    assert document["summary"]["steps_completed"] == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    st.sampled_from(get_args(Event)),
    st.integers(1, 2**60),
    st.datetimes(timezones=st.just(UTC)),
    st.none() | TEXT,
    st.sampled_from(EventLevel),
    st.dictionaries(TEXT, JSON, max_size=3),
    st.integers(0, 9),
)
def test_every_event_survives_its_line(
    kind: Any, number: int, moment: datetime, step: str | None, level: EventLevel, data: dict[str, Any], dropped: int
) -> None:
    """Whatever is in it; and it is one line of printable text."""
    event = kind(run_id="r", sequence=number, timestamp=moment, step_id=step, level=level, data=data)
    line = encode(event, dropped)
    assert len(line.decode("utf-8").splitlines()) == 1
    assert decode(line[:-1]) == (event, dropped)


def test_a_run_that_told_nothing_is_an_empty_log(tmp_path: Path) -> None:
    """As of a process that ends between the two."""
    sink = FileSink(tmp_path / "run.json")
    sink.begin("r", "w")
    sink.close()
    written = json.loads((tmp_path / "run.json").read_bytes())
    assert (written["run_id"], written["events"]) == ("r", [])


@pytest.mark.parametrize("text", ["\0", '\0",', ',"\\u0000",', "\n"])
def test_events_stay_apart_whatever_their_data_hold(text: str) -> None:
    """Their data are encoded together."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    data: list[dict[str, Any]] = [{"a": [1, text, 2]}, {text: text}, {}]
    events = [StepStart("r", place, moment, text, EventLevel.INFO, each) for place, each in enumerate(data)]
    lines = lines_of([event.facts for event in events]).encode().splitlines()
    assert [decode(line) for line in lines] == [(event, 0) for event in events]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_events_with_data_in_common_are_written_as_if_each_had_its_own(which: list[int]) -> None:
    """Steps of a layer share theirs; how many do decides how they are encoded."""
    shared: list[dict[str, Any]] = [{"attempt": 1, "needs": ["a", "b"]}, {}, {"x": "\0"}]
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    found = [
        StepStart("r", place, moment, "s", EventLevel.INFO, shared[one] if one < 3 else {"own": place}).facts
        for place, one in enumerate(which)
    ]
    assert lines_of(found) == "".join(lines_of([facts]) for facts in found)


@pytest.mark.parametrize("gathers", [True, False])
@pytest.mark.parametrize("pieces", [3, 1_100])
@pytest.mark.parametrize("room", [0, 10, 2_000, None])
def test_lines_that_do_not_fit_are_counted_across_pieces(
    room: int | None, pieces: int, gathers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pieces are written at once, and whether the system can gather them."""
    sink = JSONLinesSink(tmp_path / "run.jsonl")
    sink.begin("r", "w")
    monkeypatch.setattr(files, "_CAN_GATHER", gathers)
    whole = [sink.render([dataclasses.replace(EVENTS[1], run_id="r", sequence=n).facts]) for n in range(pieces)]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit[0] if room is None else room, limit[1]))
    try:
        if room is None or room >= sum(len(piece.content) for piece in whole):
            sink.emit_rendered(whole)
            missing = 0
        else:
            with pytest.raises(LogWriteError) as caught:
                sink.emit_rendered(whole)
            missing = caught.value.missing
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    content = (tmp_path / "run.jsonl").read_bytes()
    assert missing == pieces - content.count(b"\n")
    sink.emit_rendered(whole[:1])
    sink.close()
    log = read_log(tmp_path / "run.jsonl")
    assert (len(log.events), log.dropped) == (pieces - missing + 1, missing)


def test_a_run_whose_end_cannot_be_written_leaves_no_file_open(tmp_path: Path) -> None:
    """With a full disk, a service that always has a run under way would else run out of descriptors."""
    before = len(os.listdir("/proc/self/fd"))
    sink = JSONLinesSink(tmp_path / "run.jsonl")
    sink.begin(EVENTS[-1].run_id, "w")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(LogWriteError):
            sink.emit(EVENTS[-1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """Wherever the crash cut it: the lines before are there, and the run is shown as interrupted."""
    whole = b"".join(map(encode, EVENTS[:3]))
    for cut in range(len(encode(EVENTS[3])) - 1):
        path = tmp_path / "run.jsonl"
        path.write_bytes(whole + encode(EVENTS[3])[:cut])
        log = read_log(path)
        assert list(log.events) == EVENTS[:3]
        assert (log.interrupted, log.status, log.ended_at) == (True, WorkflowStatus.RUNNING, None)
        assert log.unread == (1 if cut else 0)


def test_what_follows_a_torn_line_begins_a_line(tmp_path: Path) -> None:
    """A sink that goes on in the file of a process that was killed."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(encode(EVENTS[0]) + encode(EVENTS[1])[:20])
    written(JSONLinesSink(path, existing="append"), [dataclasses.replace(event, run_id="2") for event in EVENTS])
    torn, after = read_logs(path)
    assert (len(torn.events), torn.interrupted, torn.unread) == (1, True, 1)
    assert (after.run_id, len(after.events), after.interrupted) == ("2", len(EVENTS), False)
    assert read_log(path) == after
    assert read_log(path, torn.run_id) == torn


def test_lines_of_a_later_version_are_counted_and_left_out(tmp_path: Path) -> None:
    """New types of event and new schemas; a new field is no reason to leave a line out."""
    later = json.loads(encode(EVENTS[1]))
    lines = [{**later, "event_type": "dream"}, {**later, "schema_version": 2}, {**later, "mood": 1}]
    path = tmp_path / "run.jsonl"
    path.write_bytes(encode(EVENTS[0]) + b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    log = read_log(path)
    assert (list(log.events), log.unread) == (EVENTS[:2], 2)


NOT_LOGS = {
    "empty": b"",
    "not JSON": b"hello\n",
    "another document": b'{"events": 3}',
    "no event": b'{"events": [{"event_type": "step_start"}]}',
    "a list": b"[1, 2]",
    "deep": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe{}",
    "NUL": b"\x00" * 100,
    "wrong types": encode(EVENTS[0]).replace(b'"sequence":1', b'"sequence":"one"'),
    "no time zone": encode(EVENTS[0]).replace(b'Z","step_id"', b'","step_id"'),
}


@pytest.mark.parametrize("name", NOT_LOGS)
def test_what_is_no_log_is_refused(name: str, tmp_path: Path) -> None:
    """With the file's name and the way out, not with a traceback."""
    path = tmp_path / "some.file"
    path.write_bytes(NOT_LOGS[name])
    with pytest.raises(ConfigError, match=r"^some\.file is no run log: .* JSONLinesSink"):
        read_log(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe would keep the reader waiting for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing", "nul\x00byte"):
        with pytest.raises(ConfigError):
            read_log(path)
    written(JSONLinesSink(tmp_path / "run.jsonl"))
    with pytest.raises(ConfigError, match="has no run 'x'"):
        read_log(tmp_path / "run.jsonl", "x")


@pytest.mark.parametrize("kind", [JSONLinesSink, FileSink])
class TestPlaces:
    """Where a file sink writes, and where it does not."""

    def test_the_file_is_for_its_owner_alone(self, kind: Any, tmp_path: Path) -> None:
        """Mode 0600, in a directory of mode 0700 if it had to be made."""
        written(kind(tmp_path / "new" / "run.log"))
        assert stat.S_IMODE((tmp_path / "new" / "run.log").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700

    @pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "a\\..\\x", "/tmp/../etc/x", "a\nb", "a\x00b"])
    def test_paths_with_steps_up_are_refused(self, kind: Any, path: str) -> None:
        """When the sink is made."""
        with pytest.raises(SecurityError, match=r"\.\."):
            kind(path)

    @pytest.mark.parametrize(("path", "more"), [("", {}), ("  ", {}), ("a", {"existing": "maybe"})])
    def test_arguments_are_checked(self, kind: Any, path: str, more: dict[str, Any]) -> None:
        """When the sink is made."""
        with pytest.raises(ConfigError):
            kind(path, **more)

    def test_a_file_that_is_there_is_left_alone(self, kind: Any, tmp_path: Path) -> None:
        """And the message says the way out."""
        (tmp_path / "run.log").write_text("precious")
        with pytest.raises(FileExistsError, match=r"run\.log is there already; put \{run_id\}"):
            kind(tmp_path / "run.log").emit(EVENTS[0])
        assert (tmp_path / "run.log").read_text() == "precious"

    @pytest.mark.parametrize("target", ["missing", "victim"])
    def test_a_link_is_not_followed(self, kind: Any, target: str, tmp_path: Path) -> None:
        """Whether it leads to a file or to none yet."""
        (tmp_path / "victim").write_text("precious")
        (tmp_path / "run.log").symlink_to(tmp_path / target)
        sinks = [kind(tmp_path / "run.log")]
        sinks += [JSONLinesSink(tmp_path / "run.log", existing="append")] if kind is JSONLinesSink else []
        for sink in sinks:
            with pytest.raises(OSError):  # noqa: PT011 - which one is the system's choice
                sink.emit(EVENTS[0])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run.log", "victim"]
        assert (tmp_path / "victim").read_text() == "precious"

    def test_a_relative_path_stays_below_its_directory(
        self, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also if a directory on the way becomes a link; and it does not move with the process."""
        (tmp_path / "work").mkdir()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        inside, outside = kind("a/run.log"), kind("b/run.log")
        inside.emit(EVENTS[0])
        monkeypatch.chdir(tmp_path)
        written(inside, EVENTS[1:])
        assert (tmp_path / "work" / "a" / "run.log").exists()
        (tmp_path / "work" / "b").symlink_to(tmp_path / "elsewhere")
        monkeypatch.chdir(tmp_path / "work")
        with pytest.raises(SecurityError, match="leads out"):
            outside.emit(EVENTS[0])
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_file_for_each_run(self, kind: Any, tmp_path: Path) -> None:
        """`{run_id}` in the path; an id that is no name of a file is refused."""
        written(kind(tmp_path / "{run_id}.log"))
        assert read_log(tmp_path / f"{EVENTS[0].run_id}.log").events
        with pytest.raises(SecurityError, match="Run id"):
            kind(tmp_path / "{run_id}.log").emit(dataclasses.replace(EVENTS[0], run_id="../up"))

    def test_the_next_run_of_the_same_sink_goes_on(self, kind: Any, tmp_path: Path) -> None:
        """Its own file is no foreign one."""
        sink = kind(tmp_path / "run.log")
        written(sink)
        written(sink, [dataclasses.replace(event, run_id="2") for event in EVENTS])
        logs = read_logs(tmp_path / "run.log")
        assert [log.run_id for log in logs] == ([EVENTS[0].run_id, "2"] if kind is JSONLinesSink else ["2"])

    def test_replacing_is_said_explicitly(self, kind: Any, tmp_path: Path) -> None:
        """A link is replaced, and not what it points to."""
        (tmp_path / "victim").write_text("precious")
        (tmp_path / "run.log").symlink_to(tmp_path / "victim")
        written(kind(tmp_path / "run.log", existing="replace"))
        assert list(read_log(tmp_path / "run.log").events) == EVENTS
        assert (tmp_path / "victim").read_text() == "precious"


def test_a_file_with_another_name_is_not_appended_to(tmp_path: Path) -> None:
    """A hard link is a way to write into somebody's file, and a pipe one to wait for ever."""
    (tmp_path / "victim").write_text("precious")
    os.link(tmp_path / "victim", tmp_path / "run.jsonl")
    with pytest.raises(SecurityError, match="second name"):
        JSONLinesSink(tmp_path / "run.jsonl", existing="append").emit(EVENTS[0])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((SecurityError, OSError)):
        JSONLinesSink(tmp_path / "pipe", existing="append").emit(EVENTS[0])
    with pytest.raises(ConfigError, match="append"):
        FileSink(tmp_path / "run.json", existing="append")


def test_a_log_that_was_rotated_is_gone_on_with(tmp_path: Path) -> None:
    """Others move the file away and make a new one, as logrotate does with `create`."""
    sink = JSONLinesSink(tmp_path / "run.jsonl", existing="append")
    written(sink)
    (tmp_path / "run.jsonl").rename(tmp_path / "run.jsonl.1")
    (tmp_path / "run.jsonl").touch()
    written(sink)
    assert [len(read_log(tmp_path / name).events) for name in ("run.jsonl", "run.jsonl.1")] == [len(EVENTS)] * 2
    other = JSONLinesSink(tmp_path / "other.jsonl")
    written(other)
    (tmp_path / "run.jsonl").replace(tmp_path / "other.jsonl")
    with pytest.raises(SecurityError, match="another file"):
        other.emit(EVENTS[0])


def test_a_file_for_each_run_is_not_remembered_for_ever(tmp_path: Path) -> None:
    """A service may run for months."""
    path = LogPath(tmp_path / "{run_id}.jsonl", "error")
    for number in range(1_200):
        os.close(path.open(str(number)))
    with pytest.raises(FileExistsError):
        path.open("0")
    os.close(path.open("1199"))


def test_runs_that_share_a_file_do_not_mix_their_lines(tmp_path: Path) -> None:
    """Each line is written in one go."""
    sink = JSONLinesSink(tmp_path / "run.jsonl")
    runs = [[dataclasses.replace(event, run_id=str(run)) for event in EVENTS] for run in range(8)]
    for events in runs:
        sink.begin(events[0].run_id, "hello")
    threads = [threading.Thread(target=written, args=[sink, events]) for events in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logs = read_logs(tmp_path / "run.jsonl")
    assert sorted(log.run_id for log in logs) == [str(run) for run in range(8)]
    assert [(len(log.events), log.unread) for log in logs] == [(len(EVENTS), 0)] * 8


def test_a_log_says_what_it_is() -> None:
    """In one line; and it knows the events of one step."""
    log: RunLog = log_of("r", EVENTS)
    assert repr(log) == f"<RunLog of 'hello': failed, {len(EVENTS)} events>"
    assert [event.event_type for event in log.of("a")] == ["step_start", "step_retry", "step_complete"]
    assert log.started_at == EVENTS[0].timestamp
