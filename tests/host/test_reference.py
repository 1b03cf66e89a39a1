"""The reference from a picture: size, crop, CLIP view and VAE conditioning, with the host's own classes."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.errors import InputError

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def clip_vision(width: int = 1280):
    """The host's CLIP vision class with ViT-H's sizes but two layers, random weights."""
    import comfy.clip_vision

    sizes = {"hidden_size": width, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    sizes |= {"image_size": 224, "patch_size": 14, "projection_dim": 16, "num_channels": 3, "hidden_act": "gelu"}
    clip = comfy.clip_vision.ClipVisionModel(sizes | {"model_type": "clip_vision_model"})
    generator = torch.Generator().manual_seed(1)
    clip.load_sd({k: torch.randn(v.shape, generator=generator) * 0.05 for k, v in clip.get_sd().items()})
    return clip


def image(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("size", "wanted"), [("480", (448, 896)), ((64, 96), (64, 96))])
def test_the_size_is_the_bucket_or_the_given_one(machine, size, wanted):
    from infinitetalk.host.reference import make_reference

    reference = make_reference(image(90, 180), machine.vae, size, machine.reference.clip, 5)
    assert (reference.height, reference.width) == wanted
    assert reference.latent.shape == (1, 16, 2, wanted[0] // 8, wanted[1] // 8)


def test_clip_sees_the_whole_picture_without_smoothing(machine):
    from infinitetalk.host.reference import make_reference

    clip = clip_vision()
    reference = make_reference(image(320, 480), machine.vae, (320, 480), clip, 5)
    planes = reference.picture.movedim(-1, 0)[None]
    plain = torch.nn.functional.interpolate(planes, size=(224, 224), mode="bicubic", align_corners=False)
    wanted = clip.encode_image(plain.movedim(1, -1)).penultimate_hidden_states
    smoothed = clip.encode_image(reference.picture[None], crop=False).penultimate_hidden_states
    assert torch.equal(reference.clip.penultimate_hidden_states, wanted)
    assert (smoothed - wanted).abs().max() > 1e-3


def test_another_clip_is_refused(machine):
    from infinitetalk.host.reference import make_reference

    with pytest.raises(InputError, match=r"features are \[257, 1024\].*takes \[257, 1280\]"):
        make_reference(image(64, 64), machine.vae, (64, 64), clip_vision(1024), 5)


def test_a_shorter_windows_conditioning_is_a_prefix(machine):
    """What is encoded once for 17 frames serves windows of 9: the VAE looks only back."""
    from infinitetalk.host.reference import make_reference

    long, short = (
        make_reference(image(64, 64), machine.vae, (64, 64), machine.reference.clip, frames) for frames in (17, 9)
    )
    assert (long.conditioning(9) - short.latent).abs().max() < 1e-5
    assert (long.first - short.first).abs().max() < 1e-5


def test_half_precision_images_and_batches_are_taken(machine):
    from infinitetalk.host.reference import make_reference

    single = image(64, 64)
    batch = torch.cat((single, 1 - single)).half()
    one, first = (make_reference(x, machine.vae, (64, 64), machine.reference.clip, 5).picture for x in (single, batch))
    assert (one - first).abs().max() <= 1 / 255 + 1e-6


def test_the_chain_of_checks_comes_before_any_encoding(machine, monkeypatch):
    from infinitetalk.host.reference import make_reference

    monkeypatch.setattr(type(machine.vae), "encode", lambda *a: pytest.fail("the VAE ran"))
    for arguments, message in (
        ((image(64, 64)[..., :1], machine.vae, (64, 64), 1, 5), "1 channels"),
        ((image(64, 64), machine.vae, (60, 64), 1, 5), "height: 60 is not a multiple"),
        ((image(64, 64), machine.vae, (64, 64), None, 5), "clip_vision: nothing is connected"),
        ((image(64, 64), machine.vae, (64, 64), 1, 6), "6 is not of the form 4n"),
        ((image(64, 64) * float("nan"), machine.vae, (64, 64), 1, 5), "not numbers"),
    ):
        with pytest.raises(InputError, match=message):
            make_reference(*arguments)
