"""Names and paths stay inside their directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async.exceptions import SecurityError
from kairos_async.security import path_inside, sanitize_path


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("my-run_1", "my-run_1"),
        ("report.v2.jsonl", "report.v2.jsonl"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c:d", "a_b_c_d"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("naïve ☃", "na_ve__"),
        (".hidden", "hidden"),
        ("a" * 300, "a" * 200),
        ("x\x00y\n", "x_y_"),
    ],
)
def test_a_name_becomes_one_safe_name(name: str, safe: str, tmp_path: Path) -> None:
    """Letters, digits, dots, dashes and underscores; with a directory, the path of the name in it."""
    assert sanitize_path(name) == safe
    assert sanitize_path(name, tmp_path) == str(tmp_path.resolve() / safe)


@pytest.mark.parametrize("name", ["", "...", "///", "\x00", "☃"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    """There would be nothing to tell it by."""
    with pytest.raises(SecurityError, match="No safe file name"):
        sanitize_path(name)


@given(st.text(min_size=1))
def test_any_name_is_one_part_or_refused(name: str) -> None:
    """No separator, no drive, no parent, no reserved name; making it safe again changes nothing."""
    try:
        safe = sanitize_path(name)
    except SecurityError:
        return
    assert Path(safe).name == safe
    assert sanitize_path(safe) == safe


@pytest.mark.parametrize("path", ["a.jsonl", "runs/today.jsonl", "runs\\today.jsonl", "./a", "a/./b", ".hidden/x"])
def test_plain_relative_paths_pass(path: str, tmp_path: Path) -> None:
    """And are found inside the directory."""
    assert path_inside(path, tmp_path) == tmp_path.resolve() / path.replace("\\", "/")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("x" + "/x" * 100_000, "is longer than 4,096 characters"),
        ("../x", r"has a '\.\.'"),
        ("a/../../x", r"has a '\.\.'"),
        ("a\\..\\x", r"has a '\.\.'"),
        ("/etc/passwd", "is absolute"),
        ("\\\\server\\share\\x", "is absolute"),
        ("C:\\x", "is absolute"),
        ("c:x", "is absolute"),
        ("a/b:stream", "has a ':'"),
        ("a\x00b", "has a NUL"),
        ("a\nb", "control character"),
        ("report\u202efdp.exe", "invisible"),
        ("a\u200b", "invisible"),
        ("a\ud800", "invisible"),
        ("COM¹", "Windows reserves"),
        ("a/lpt².txt", "Windows reserves"),
        ("", "is empty"),
        (".", "is empty"),
        ("runs/NUL", "reserves"),
        ("com1.log", "reserves"),
        ("a./b", "dot or space"),
        ("a ", "dot or space"),
        ("~/x", "begins with '~'"),
        ("//etc/x", "is absolute"),
    ],
)
def test_what_could_mean_another_place_is_refused(path: str, problem: str, tmp_path: Path) -> None:
    """On every system alike, with the rule that it breaks."""
    with pytest.raises(SecurityError, match=problem):
        path_inside(path, tmp_path)


def test_symbolic_links_do_not_lead_out(tmp_path: Path) -> None:
    """Neither one in the middle nor one at the end; one that stays inside is fine."""
    base = tmp_path / "base"
    (base / "inner").mkdir(parents=True)
    (base / "out").symlink_to(tmp_path)
    (base / "file").symlink_to(tmp_path / "elsewhere.txt")
    (base / "fine").symlink_to(base / "inner")
    for path in ("out/x", "file"):
        with pytest.raises(SecurityError, match="symbolic link"):
            path_inside(path, base)
    assert path_inside("fine/x", base) == base.resolve() / "inner" / "x"
