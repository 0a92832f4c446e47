"""The parts of the licence audit: what words mean, what files hold, and who requires whom."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from auditing.families import Family, classify, family_of_expression, family_of_text
from auditing.metadata import LARGEST, DirtyMetadataError, Package, find_distributions, read_package
from auditing.report import first_of_each_name
from auditing.requirements import brought_along, components, direct_requirements

PUBLIC_DOMAIN, PERMISSIVE, WEAK, STRONG, PROPRIETARY, UNKNOWN = Family


@pytest.mark.parametrize(
    ("expression", "family"),
    [
        ("MIT", PERMISSIVE),
        ("mit", PERMISSIVE),
        ("Apache-2.0 OR BSD-2-Clause", PERMISSIVE),
        ("MPL-2.0 AND MIT", WEAK),
        ("MIT AND MPL-2.0", WEAK),
        ("GPL-3.0-or-later", STRONG),
        ("GPL-2.0-only OR MIT", PERMISSIVE),
        ("MIT AND (LGPL-2.1+ OR GPL-3.0-only)", WEAK),
        ("MIT OR Apache-2.0 AND GPL-3.0-only", PERMISSIVE),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", STRONG),
        ("GPL-3.0-only AND Apache-2.0 OR MIT", PERMISSIVE),
        ("GPL-2.0-or-later WITH Bootloader-exception", WEAK),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", PERMISSIVE),
        ("GPL-2.0-only WITH Classpath-exception-2.0 AND AGPL-3.0-only", STRONG),
        ("Unlicense", PUBLIC_DOMAIN),
        ("CC0-1.0 OR GPL-3.0-only", PUBLIC_DOMAIN),
        ("LicenseRef-NVIDIA-Proprietary", PROPRIETARY),
        ("LicenseRef-Ours AND MIT", UNKNOWN),
        ("LicenseRef-Ours OR MIT", PERMISSIVE),
        ("BUSL-1.1", PROPRIETARY),
        ("((((MIT))))", PERMISSIVE),
        ("(" * 5000 + "MIT" + ")" * 5000, PERMISSIVE),
        ("", UNKNOWN),
        ("MIT License", UNKNOWN),
        ("MIT OR", UNKNOWN),
        ("AND MIT", UNKNOWN),
        ("(MIT", UNKNOWN),
        ("MIT)", UNKNOWN),
        ("MIT ) OR (", UNKNOWN),
        ("()", UNKNOWN),
        ("MIT WITH", UNKNOWN),
        ("(GPL-3.0-only OR MIT) WITH", UNKNOWN),
        ("NOT MIT", UNKNOWN),
    ],
)
def test_family_of_expression(expression: str, family: Family) -> None:
    """SPDX's operators and their order; what is no expression is unknown."""
    assert family_of_expression(expression) is family


MIT_TEXT = (
    "Copyright (c) 2020 Somebody\n\nPermission is hereby granted, free of charge, to any person ... " + "x " * 200
)
BSD_TEXT = (
    "Copyright (c) 2005, NumPy Developers.\nAll rights reserved.\n\nRedistribution and use in source " + "x " * 200
)
GPL_TEXT = "GNU GENERAL PUBLIC LICENSE\nVersion 3\n" + "x " * 200 + "use the GNU Lesser General Public License or ..."


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("MIT License", PERMISSIVE),
        ("The MIT License (MIT)", PERMISSIVE),
        ("3-Clause BSD License", PERMISSIVE),
        ("New BSD", PERMISSIVE),
        ("Apache License, Version 2.0", PERMISSIVE),
        ("ASL 2", PERMISSIVE),
        ("PSFL", PERMISSIVE),
        ("ISC License (ISCL)", PERMISSIVE),
        ("BSD-3-Clause, Apache-2.0, dependency licenses", PERMISSIVE),
        ("Dual License", UNKNOWN),
        ("Mozilla Public License 2.0 (MPL 2.0)", WEAK),
        ("MPLv2.0, MIT Licences", WEAK),
        ("LGPLv2+", WEAK),
        ("GNU Library or Lesser General Public License (LGPL)", WEAK),
        ("GNU General Public License v2 or later (GPLv2+)", STRONG),
        ("GPLv3", STRONG),
        ("AGPL", STRONG),
        ("GPL or MIT", PERMISSIVE),
        ("GPL, MIT", STRONG),
        ("GNU Affero General Public License v3", STRONG),
        ("Public Domain", PUBLIC_DOMAIN),
        ("Other/Proprietary License", PROPRIETARY),
        ("NVIDIA Proprietary Software", PROPRIETARY),
        ("Copyright 2024 Somebody. All Rights Reserved.", PROPRIETARY),
        ("Free for non-commercial use", PROPRIETARY),
        (MIT_TEXT, PERMISSIVE),
        (BSD_TEXT, PERMISSIVE),
        (GPL_TEXT, STRONG),
        ("permit limitations bsdiff", PERMISSIVE),
        ("emit limits", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_family_of_text(text: str, family: Family) -> None:
    """Names as people write them, several names, and whole texts, where the first one named is meant."""
    assert family_of_text(text) is family


def test_the_most_exact_field_decides() -> None:
    """An expression goes before free text, free text before classifiers; what names nothing gives way to the next."""
    bsd = ["License :: OSI Approved", "License :: OSI Approved :: BSD License"]
    assert classify("MIT", "GPL", bsd) == (PERMISSIVE, "MIT", "License-Expression")
    assert classify(None, "GPL", bsd) == (STRONG, "GPL", "License")
    assert classify(None, "UNKNOWN", bsd) == (PERMISSIVE, "BSD License", "Classifier")
    assert classify(None, "See LICENSE.txt", bsd) == (PERMISSIVE, "BSD License", "Classifier")
    assert classify(None, None, ["License :: OSI Approved"]) == (UNKNOWN, None, None)
    assert classify(None, "see license", []) == (UNKNOWN, None, None)
    assert classify(None, "Beerware", []) == (UNKNOWN, "Beerware", "License")


def test_several_classifiers_are_read_with_care() -> None:
    """They may be a choice or a sum: the strictest counts."""
    both = ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: GNU General Public License (GPL)"]
    assert classify(None, None, both).family is STRONG


def test_a_long_licence_is_declared_by_its_first_line() -> None:
    """A report has no room for a whole text."""
    declared = classify(None, "\n\n  " + "Long " * 40 + "MIT\nmore", []).declared
    assert declared is not None
    assert len(declared) == 60
    assert declared.endswith("...")


METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}\nThe description.\n"


def install(root: Path, name: str, version: str = "1.0", more: str = "", suffix: str = ".dist-info") -> Path:
    """Make a directory as an installer leaves it."""
    holder = root / f"{name}-{version}{suffix}"
    holder.mkdir()
    file = holder / ("METADATA" if suffix == ".dist-info" else "PKG-INFO")
    file.write_text(METADATA.format(name=name, version=version, more=more), "utf-8")
    return holder


def wheel(path: Path, members: dict[str, str | bytes]) -> Path:
    """Make a wheel of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_everything_that_holds_metadata_is_found(tmp_path: Path) -> None:
    """Wheels, all the forms of installed packages, and nothing else; twice the same root counts once."""
    install(tmp_path, "a")
    install(tmp_path, "b", suffix=".egg-info")
    wheel(tmp_path / "c-1.0-py3-none-any.whl", {})
    (tmp_path / "d.py").touch()
    names = [Path(path).name for path in find_distributions([str(tmp_path), str(tmp_path)])]
    assert names == ["a-1.0.dist-info", "b-1.0.egg-info", "c-1.0-py3-none-any.whl"]


def test_metadata_is_read_from_every_form(tmp_path: Path) -> None:
    """The same fields, whatever holds them, and the description is none of them."""
    more = "License: MIT\nClassifier: License :: X\nClassifier: Topic :: Y\nRequires-Dist: b>1\nRequires-Dist: c\n"
    text = METADATA.format(name="a", version="1.0", more=more)
    (tmp_path / "old.egg-info").write_text(text)
    (tmp_path / "older.egg" / "EGG-INFO").mkdir(parents=True)
    (tmp_path / "older.egg" / "EGG-INFO" / "PKG-INFO").write_text(text)
    forms = [
        install(tmp_path, "a", more=more),
        install(tmp_path, "a", more=more, suffix=".egg-info"),
        tmp_path / "old.egg-info",
        tmp_path / "older.egg",
        wheel(tmp_path / "a.whl", {"a/vendored-2.dist-info/METADATA": "Name: no", "a-1.0.dist-info/METADATA": text}),
    ]
    for form in forms:
        package = Package.model_validate(read_package(str(form)))
        assert (package.name, package.version, package.licence_text) == ("a", "1.0", "MIT")
        assert (package.requires, package.licence_classifiers) == (["b>1", "c"], ["License :: X"])


def test_old_requirements_are_found_too(tmp_path: Path) -> None:
    """setuptools' own installations keep them in a file beside the metadata."""
    holder = install(tmp_path, "a", suffix=".egg-info")
    (holder / "requires.txt").write_text("b>1\n\n[fast]\nc\n")
    assert read_package(str(holder))["requires"] == ["b>1", 'c; extra == "fast"']
    (holder / "requires.txt").write_bytes(b"b\xff")
    with pytest.raises(DirtyMetadataError, match=r"requires\.txt is not UTF-8"):
        read_package(str(holder))


def broken(root: Path) -> dict[str, str]:
    """Make one of each thing that is wrong with real metadata; return what its error says, by file name."""
    whole = wheel(root / "whole.whl", {"a-1.dist-info/METADATA": METADATA.format(name="a", version="1", more="")})
    (root / "truncated.whl").write_bytes(whole.read_bytes()[:60])
    (root / "empty.whl").touch()
    whole.unlink()
    wheel(root / "bare.whl", {"a/__init__.py": ""})
    wheel(root / "two.whl", {"a-1.dist-info/METADATA": "", "b-1.dist-info/METADATA": ""})
    wheel(root / "bomb.whl", {"a-1.dist-info/METADATA": b"x" * 10 * LARGEST})
    (root / "none.dist-info").mkdir()
    (root / "file.dist-info").touch()
    install(root, "~ip")
    latin = install(root, "latin1") / "METADATA"
    latin.write_bytes(b"Name: a\nVersion: 1\nAuthor: Andr\xe9\n")
    return {
        "truncated.whl": "no readable archive",
        "empty.whl": "no readable archive",
        "bare.whl": "has 0 files",
        "two.whl": "has 2 files",
        "bomb.whl": "larger than",
        "none.dist-info": "has no METADATA",
        "file.dist-info": "has no METADATA",
        "~ip-1.0.dist-info": "interrupted",
        "latin1-1.0.dist-info": "not UTF-8: byte 0xe9",
    }


def test_broken_metadata_is_one_clear_error(tmp_path: Path) -> None:
    """Each kind of damage says what it is, and nothing is read beyond the limit."""
    expected = broken(tmp_path)
    assert {Path(path).name for path in find_distributions([str(tmp_path)])} == set(expected)
    for name, message in expected.items():
        with pytest.raises(DirtyMetadataError, match=message):
            read_package(str(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    ["Version: 1\n", "Name: a\n", "Name: a b\nVersion: 1\n", "Name: a\nVersion: one\n", "", "\x00\x01\n\n\n"],
)
def test_incomplete_metadata_breaks_the_contract(tmp_path: Path, text: str) -> None:
    """It can be read, but it does not say what a package must say."""
    (tmp_path / "a.dist-info").mkdir()
    (tmp_path / "a.dist-info" / "METADATA").write_text(text)
    fields = read_package(str(tmp_path / "a.dist-info"))
    with pytest.raises(ValidationError):
        Package.model_validate(fields)


def test_a_field_of_ten_megabytes_is_refused(tmp_path: Path) -> None:
    """So is a licence of a hundred kilobytes, by the contract."""
    huge = install(tmp_path, "huge", more=f"License: {'x' * 10_000_000}\n")
    with pytest.raises(DirtyMetadataError, match="larger than"):
        read_package(str(huge))
    large = install(tmp_path, "large", more=f"License: {'x' * 100_001}\n")
    with pytest.raises(ValidationError):
        Package.model_validate(read_package(str(large)))


def test_names_are_normalised_and_the_first_counts() -> None:
    """As for `import`; what could not be read is left out."""
    found = [
        {"name": "Foo.Bar", "version": "1"},
        None,
        {"name": "foo_bar", "version": "2"},
        {"name": "b", "version": "3"},
    ]
    packages, hidden = first_of_each_name(found)
    assert packages == [{"name": "foo-bar", "version": "1"}, {"name": "b", "version": "3"}]
    assert hidden == ["foo-bar 2"]


def test_requirements_follow_markers_and_extras() -> None:
    """What does not hold here is left out; an extra counts once somebody asks for it."""
    found = direct_requirements(
        {
            "a": ["B[Fast_er]>=1", "win; sys_platform == 'nowhere'", "c; extra == 'x'"],
            "b": ["d", "e; extra == 'fast-er'", "f; extra == 'slow'", "absent"],
            "c": ["not a requirement", "os; os_name in 'x' >", "c[x]"],
            "d": [],
            "e": ["a"],
        }
    )
    assert found.direct == {"a": ["b"], "b": ["d", "e"], "c": [], "d": [], "e": ["a"]}
    assert found.missing == [("b", "absent")]
    assert found.invalid == [("c", "not a requirement"), ("c", "os; os_name in 'x' >")]


def test_components_and_what_is_brought_along() -> None:
    """Two circles, one leading to the other, a tail, and a package on its own."""
    graph = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["e"], "e": ["d", "f"], "f": [], "g": []}
    found = components(graph)
    assert sorted(found) == [["a", "b", "c"], ["d", "e"], ["f"], ["g"]]
    assert found.index(["f"]) < found.index(["d", "e"]) < found.index(["a", "b", "c"])
    assert brought_along(graph) == {"a": 5, "b": 5, "c": 5, "d": 2, "e": 2, "f": 0, "g": 0}


def test_a_very_long_chain_needs_no_recursion() -> None:
    """Twenty thousand packages, each requiring the next, and the last one requiring the first."""
    names = [str(number) for number in range(20_000)]
    graph = {name: [names[(position + 1) % len(names)]] for position, name in enumerate(names)}
    assert [len(component) for component in components(graph)] == [20_000]


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_against_plain_search(seed: int) -> None:
    """Components and counts are those that a search from every node finds."""
    choose = random.Random(seed)
    names = [f"p{number}" for number in range(25)]
    graph = {name: choose.sample(names, choose.randint(0, 2)) for name in names}
    reach = {name: reachable(graph, name) for name in names}
    assert brought_along(graph) == {name: len(reach[name] - {name}) for name in names}
    together = {frozenset([name, *(n for n in reach[name] if name in reach[n])]) for name in names}
    assert {frozenset(component) for component in components(graph)} == together


def reachable(graph: dict[str, list[str]], name: str) -> set[str]:
    """Return what a search from a node finds; the node itself only if it lies on a circle."""
    found: set[str] = set()
    waiting = list(graph[name])
    while waiting:
        target = waiting.pop()
        if target not in found:
            found.add(target)
            waiting.extend(graph[target])
    return found
