"""Pickled weights as the check opens them: both of PyTorch's formats, and what is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infinitetalk.errors import InputError
from tests.host.full_files import WAN_VAE

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The one folder in which the host looks for VAEs."""
    import folder_paths

    known = {**folder_paths.folder_names_and_paths, "vae": ([str(tmp_path)], folder_paths.supported_pt_extensions)}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    return tmp_path


def refusal(name: str) -> str:
    from infinitetalk.host.headers import open_weight

    with pytest.raises(InputError) as caught:
        open_weight("vae", name, "Load VAE, vae_name")
    problem, remedy = str(caught.value).split("\n")
    assert problem.startswith(f"Load VAE, vae_name: {name} cannot be read as model weights") and remedy
    return problem


@pytest.mark.parametrize("zipped", [True, False])
def test_a_vae_is_read_in_both_formats_and_never_in_half(folder, zipped):
    """Wan's own VAE is a pickle; ComfyUI reads both."""
    from infinitetalk.host.headers import open_weight

    path = folder / "Wan2.1_VAE.pth"
    tensors = {key: torch.zeros(1).expand(shape) for key, shape in WAN_VAE.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    assert open_weight("vae", path.name, "vae").shapes == {key: tuple(shape) for key, shape in WAN_VAE.items()}
    path.write_bytes(path.read_bytes()[:-9])
    refusal(path.name)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("held", [[torch.zeros(2)], torch.zeros(2)], ids=["a list", "a tensor"])
def test_something_else_than_named_tensors_is_refused(folder, zipped, held):
    torch.save(held, folder / "odd.pth", _use_new_zipfile_serialization=zipped)
    assert "not named tensors" in refusal("odd.pth")


NONSENSE = [b"", b"\x80\x02.", b"\x80\x02}q\x00.", b"\x80\x02h\x05.", b"\x80\x02Rq", b"PK\x03\x04 no zip"]


@pytest.mark.parametrize("content", NONSENSE)
def test_nonsense_is_refused(folder, content):
    (folder / "odd.pth").write_bytes(content)
    refusal("odd.pth")


class Payload:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["evil.pth", "evil.safetensors"])
def test_code_is_refused_and_not_run(folder, name, zipped):
    from infinitetalk.host.headers import open_weight

    evil = {"conv2.weight": Payload(folder / "ran")}
    torch.save(evil, folder / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=name):
        open_weight("vae", name, "vae")
    assert not (folder / "ran").exists()
