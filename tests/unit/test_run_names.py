"""Names of runs: what is refused, and that the folder is always one directly below the folder of runs."""

from __future__ import annotations

import os
import sys

import pytest

from infinitetalk.errors import InputError
from infinitetalk.run_names import check_run_name, find, folder_name, run_folder_path, run_folders, runs_root

HASH = "0123456789abcdef"

BAD = {
    "..": "means a folder above",
    ".": "means a folder above",
    "../x": "is a path",
    "a/b": "is a path",
    "a\\b": "is a path",
    "/etc/passwd": "is an absolute path",
    "\\\\server\\share": "is an absolute path",
    "~root": "is an absolute path",
    "C:\\runs": "begins with a drive letter",
    "c:runs": "begins with a drive letter",
    "x" * 300: "has 300 characters, more than 80",
    "x" * 81: "has 81 characters",
    "naïve": "not ASCII",
    "演讲": "not ASCII",
    "a\nb": "control characters",
    "a\0b": "control characters",
    "a\x7f": "control characters",
    " a": "begins with ' '",
    ".hidden": "begins with '.'",
    "-rf": "begins with '-'",
    "a?b*c": r"holds \* \?",
    "a:b": "drive letter",
    "ab:stream": "holds :",
    "%2e%2e": "%",
    "name.": "ends with a dot",
    "name ": "ends with a dot or a space",
    "   ": "is empty",
    "CON": "device",
    "nul.txt": "device",
    "Com1": "device",
    "LPT9.a.b": "device",
    "AUX .x": "device",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_by_saying_what_is_wrong(name, tmp_path):
    with pytest.raises(InputError, match=f"^run_name: .*{BAD[name]}"):
        check_run_name(name)
    if len(name) != 81:
        with pytest.raises(InputError, match="^run: "):
            run_folder_path(tmp_path, name)
        with pytest.raises(InputError, match="^run: "):
            find(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a", "My talk 2", "take-3_b.1", "CONcert", "com10", "7", "x" * 80])
def test_a_good_name_is_kept_as_it_is(name, tmp_path):
    assert check_run_name(name) == name
    folder = run_folder_path(tmp_path, folder_name(name, HASH * 4))
    assert folder.parent == runs_root(tmp_path) and folder.name == (f"{name}-{HASH}" if name else HASH)
    folder.mkdir(parents=True)
    assert run_folder_path(tmp_path, folder.name) == folder == find(tmp_path, name or HASH)


@pytest.mark.parametrize("value", [None, 7, ["a"], b"a"])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(InputError, match="is no text"):
        check_run_name(value)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("linked", ["InfiniteTalk", "InfiniteTalk/runs", f"InfiniteTalk/runs/talk-{HASH}"])
def test_links_are_refused_at_every_level(linked, tmp_path):
    output, outside = tmp_path / "output", tmp_path / "outside"
    (outside / "runs" / f"talk-{HASH}").mkdir(parents=True)
    place = output / linked
    place.parent.mkdir(parents=True)
    place.symlink_to(outside if linked == "InfiniteTalk" else outside / "runs")
    with pytest.raises(InputError, match="is a link to .*outside"):
        run_folder_path(output, f"talk-{HASH}")
    with pytest.raises(InputError):
        find(output, "talk")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_the_output_folder_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "output").symlink_to(tmp_path / "disk")
    run_folder_path(tmp_path / "output", "a").mkdir(parents=True)
    assert find(tmp_path / "output", "a") == tmp_path / "output" / "InfiniteTalk" / "runs" / "a"


def test_a_file_in_the_way_is_refused(tmp_path):
    runs_root(tmp_path).mkdir(parents=True)
    (runs_root(tmp_path) / "a").write_text("")
    with pytest.raises(InputError, match="a is a file"):
        run_folder_path(tmp_path, "a")
    assert run_folders(tmp_path) == []


def test_a_run_is_found_by_folder_name_beginning_and_hash(tmp_path):
    assert run_folders(tmp_path) == []
    with pytest.raises(InputError, match="There is no run yet"):
        find(tmp_path, "talk")
    assert not os.path.exists(runs_root(tmp_path))  # looking makes nothing
    names = [f"talk-{HASH}", f"talk two-{'f' * 16}", "9" * 16, f"other-{'a' * 16}"]
    for name in [*names, ".removed-x"]:
        (runs_root(tmp_path) / name).mkdir(parents=True)
    assert {path.name for path in run_folders(tmp_path)} == set(names)
    for text, name in {
        names[0]: names[0],
        "talk": names[0],  # its whole name, though another's begins with it
        "talk t": names[1],
        "99": names[2],
        "aaaa": names[3],
        "oth": names[3],
    }.items():
        assert find(tmp_path, text).name == name
    with pytest.raises(InputError, match="'tal' means 2 runs") as refused:
        find(tmp_path, "tal")
    assert names[0] in str(refused.value) and names[1] in str(refused.value)
    with pytest.raises(InputError, match="no run 'third'") as refused:
        find(tmp_path, "third")
    assert all(name in str(refused.value) for name in names) and ".removed" not in str(refused.value)
