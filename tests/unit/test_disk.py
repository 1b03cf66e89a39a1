"""The output folder: what is writable, what an error means, and the final name."""

from __future__ import annotations

import errno
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from infinitetalk.cache_curve import Curve, write_curve
from infinitetalk.disk import check_writable, discard, explained, publish
from infinitetalk.errors import InputError


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    check_writable(tmp_path / "a" / "b", expected_bytes=1000)
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_folder_under_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        check_writable(tmp_path / "file" / "folder")


def test_more_than_the_disk_holds_is_refused_with_both_numbers(tmp_path):
    with pytest.raises(InputError, match=r"B left on the disk, this video may need 1000000000\.0 GB"):
        check_writable(tmp_path, expected_bytes=10**18)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_names_the_file_and_the_remedy(tmp_path, number):
    with pytest.raises(InputError, match="v.mp4: the disk is full") as caught, explained(tmp_path / "v.mp4"):
        raise OSError(number, "no room")
    assert "Free some space" in caught.value.remedy and isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), RuntimeError("other"), InputError("a", "b")])
def test_other_errors_stay_what_they_are(tmp_path, error):
    with pytest.raises(type(error)) as caught, explained(tmp_path / "v.mp4"):
        raise error
    assert caught.value is error


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such rights")
def test_a_published_file_has_the_rights_of_other_new_files(tmp_path):
    """Whatever made it: safetensors and mkstemp make files that only their owner may read."""
    (tmp_path / "usual").touch()
    save_file({"a": torch.zeros(3)}, tmp_path / "a.part")
    write_curve(tmp_path / "curve", Curve("m", (1.0, 0.0), {"cond": (1.0,)}))
    publish(tmp_path / "a.part", tmp_path / "a")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    }


def test_publish_replaces_and_discard_forgives(tmp_path):
    part, final = tmp_path / "v.part.mp4", tmp_path / "v.mp4"
    part.write_text("new")
    final.write_text("old")
    publish(part, final)
    assert final.read_text() == "new" and not part.exists()
    discard(part)
    discard(final)
    assert os.listdir(tmp_path) == []
