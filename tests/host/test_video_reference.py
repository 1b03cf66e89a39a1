"""Video dubbing in this process: each window's own source frame, read ahead, scenes, SDEdit and colours."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.source import PictureSource, VideoSource
from infinitetalk.takes import first_takes
from infinitetalk.timeline import plan
from tests.host.test_reference import clip_vision
from tests.host.test_run import read
from tests.unit.clips import number_of, numbered_picture, write_clip

pytestmark = pytest.mark.usefixtures("host")

PLAN = plan(21, WindowConfig(9, 5))  # windows begin at 0, 4, 8, 12: 0, 0.16, 0.32, 0.48 s
TAKES = first_takes(PLAN)


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def clip_30(tmp_path_factory):
    """12 numbered frames at 30 per second: 0.4 s."""
    return write_clip(tmp_path_factory.mktemp("clip") / "source.mp4", [numbered_picture(n) for n in range(12)], 30)


def video_reference(machine, source, clip=None):
    from infinitetalk.host.reference import make_video_reference

    return make_video_reference(source, machine.vae, (64, 64), clip or machine.reference.clip)


def shades(*values: float) -> PictureSource:
    """A source of plain pictures with a little texture, at 25 per second."""
    grain = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(8)) * 0.2
    return PictureSource(torch.stack([grain + value for value in values]), 25.0)


def run(machine, tmp_path, reference, frames=13, **settings):
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    inputs = replace(machine.inputs(frames, steps=3), reference=reference)
    with folders(tmp_path):
        return read(render(inputs, replace(CONFIG, **settings)).path)[0].astype(int)


def test_every_window_has_the_source_frame_of_its_time(machine, clip_30):
    reference = video_reference(machine, VideoSource(clip_30))
    shown = [number_of(reference.at(window).picture * 255) for window in PLAN]
    assert [window.start for window in PLAN] == [0, 4, 8, 12]
    assert shown == [0, 4, 9, 11]  # 0.16 s is frame 4.8, 0.32 s frame 9.6, 0.48 s past the end
    assert reference.source == (64, 64)


def test_vae_and_clip_see_the_windows_own_frame(machine, clip_30):
    from infinitetalk.host.reference import make_reference

    clip = clip_vision()
    reference = video_reference(machine, VideoSource(clip_30), clip)
    window = PLAN[2]
    still = make_reference(VideoSource(clip_30).frame(0.32)[None].float() / 255, machine.vae, (64, 64), clip, 9)
    found = reference.at(window)
    assert torch.equal(found.latent, still.latent)
    assert torch.equal(found.clip.penultimate_hidden_states, still.clip.penultimate_hidden_states)
    other = reference.at(PLAN[0])
    assert not torch.equal(found.clip.penultimate_hidden_states, other.clip.penultimate_hidden_states)


def test_the_next_reference_is_encoded_beside_and_is_the_same(machine, clip_30):
    from infinitetalk.host.video_reference import References

    threads = []

    class Watched(VideoSource):
        def frame(self, seconds):
            threads.append(threading.current_thread().name)
            return super().frame(seconds)

    reference = video_reference(machine, Watched(clip_30))
    threads.clear()
    references = References(reference)
    first = references.at(PLAN[0])
    references.prepare(TAKES[1])
    references.prepare(TAKES[2])  # one at a time
    references.settle()
    assert len(threads) == 2 and threads[1].startswith("infinitetalk-reference")
    assert torch.equal(references.at(PLAN[1]).latent, reference.at(PLAN[1]).latent)
    assert references.at(PLAN[1]) is references.at(PLAN[1]) and first is not references.at(PLAN[1])
    assert torch.equal(references.at(PLAN[2]).latent, reference.at(PLAN[2]).latent)
    references.close()


def test_without_room_nothing_is_encoded_ahead(machine, clip_30, monkeypatch):
    import comfy.model_management

    from infinitetalk.host.video_reference import References

    monkeypatch.setattr(comfy.model_management, "EXTRA_RESERVED_VRAM", 2**60)  # as --reserve-vram does
    references = References(video_reference(machine, VideoSource(clip_30)))
    references.prepare(TAKES[1])
    assert references._ahead is None
    assert number_of(references.at(PLAN[1]).picture * 255) == 4
    references.close()


def test_no_memory_for_the_sampling_beside_means_no_encoding_ahead(machine, clip_30, monkeypatch):
    """What the sampling needs counts as free between its steps; it must still be there in the next one."""
    import comfy.model_management

    from infinitetalk.host.video_reference import References

    def begun(branches: int) -> bool:
        references = References(video_reference(machine, VideoSource(clip_30)), machine.model, branches)
        references.prepare(TAKES[1])
        references.close()
        return references._ahead is not None

    free = comfy.model_management.get_free_memory(machine.vae.device)
    reserved = free - machine.model.model.memory_required([40_000, 16, 3, 8, 8])
    assert begun(3)
    monkeypatch.setattr(comfy.model_management, "EXTRA_RESERVED_VRAM", max(0, reserved) / 1.2)
    assert begun(1) and not begun(10**6)


def test_weights_that_the_host_moves_are_not_resident():
    """On a GPU nothing is encoded beside the sampling unless every weight stays where it is."""
    from comfy.model_patcher import ModelPatcher

    from infinitetalk.host.video_reference import _resident

    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    patcher = ModelPatcher(torch.nn.Linear(1, 1), load_device=gpu, offload_device=cpu)
    patcher.model.device = cpu
    assert not _resident(patcher)
    patcher.model.device = gpu  # as after loading
    assert _resident(patcher)
    patcher.model.model_lowvram = True
    assert not _resident(patcher)


def in_worker() -> bool:
    return threading.current_thread().name.startswith("infinitetalk-reference")


def test_a_cancel_that_the_encoding_meets_stops_the_run(machine, tmp_path, clip_30):
    import comfy.model_management

    met = []

    class Cancelled(VideoSource):
        def frame(self, seconds):
            if in_worker():
                met.append(seconds)
                comfy.model_management.interrupt_current_processing()
                comfy.model_management.throw_exception_if_processing_interrupted()
            return super().frame(seconds)

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(machine, tmp_path, video_reference(machine, Cancelled(clip_30)))
    comfy.model_management.interrupt_current_processing(False)  # as the host does before every prompt
    assert len(met) == 1
    assert not [t for t in threading.enumerate() if t.name.startswith("infinitetalk-reference")]


def test_a_cancel_does_not_wait_for_the_encoding(machine, clip_30):
    import comfy.model_management

    from infinitetalk.host.video_reference import References

    asked = threading.Event()

    class Slow(VideoSource):
        def frame(self, seconds):
            while in_worker():  # for ever, but for the host's interrupt
                asked.set()
                comfy.model_management.throw_exception_if_processing_interrupted()
            return super().frame(seconds)

    references = References(video_reference(machine, Slow(clip_30)))
    references.prepare(TAKES[1])
    assert asked.wait(30)
    references.close()
    assert not comfy.model_management.processing_interrupted()


def test_a_video_that_stands_still_gives_what_the_picture_gives(machine, tmp_path):
    from infinitetalk.host.reference import make_reference

    source = shades(0.3, 0.3, 0.3)
    clip = machine.reference.clip
    still = make_reference(source.frame(0)[None].float() / 255, machine.vae, (64, 64), clip, 9)
    dubbed = run(machine, tmp_path, video_reference(machine, source))
    assert np.array_equal(dubbed, run(machine, tmp_path, still))


def test_another_frame_at_a_later_window_changes_that_window_only(machine, tmp_path):
    plain = run(machine, tmp_path, video_reference(machine, shades(*[0.3] * 13)), colour=0.0)
    later = run(machine, tmp_path, video_reference(machine, shades(*[0.3] * 4, 0.7, *[0.3] * 8)), colour=0.0)
    assert np.abs(plain[:8] - later[:8]).mean() < 0.5  # the encoder sees what follows
    assert np.abs(plain[9:] - later[9:]).mean() > 1


def test_a_scene_does_not_know_the_one_before(machine, tmp_path):
    """Frames after a cut depend on their own scene's pictures alone; the speech and its length go on."""
    first, second = [0.2] * 10, [0.6] * 10
    both = run(machine, tmp_path, video_reference(machine, shades(*first, *second)), 20, cuts=(10,))
    other = run(machine, tmp_path, video_reference(machine, shades(*[0.7] * 10, *second)), 20, cuts=(10,))
    uncut = run(machine, tmp_path, video_reference(machine, shades(*first, *second)), 20)
    assert len(both) == len(uncut) == 20
    assert np.abs(both[:10] - other[:10]).mean() > 5
    assert np.abs(both[11:] - other[11:]).mean() < 2 < np.abs(both[11:] - uncut[11:]).mean()


def test_sdedit_starts_from_the_windows_noised_source(machine):
    """The sampler's first latent is the source's own frames and noise, mixed at the first sigma that is run."""
    import comfy.samplers

    from infinitetalk.host.denoise import Denoiser
    from infinitetalk.host.vae import WanVae
    from infinitetalk.host.video_reference import References
    from tests.host.machine import CONFIG

    started = []

    def first_latent(model, x, sigmas, extra_args=None, callback=None, disable=None):
        started.append((x.clone(), sigmas))
        return x

    source = shades(*[n / 30 for n in range(25)])
    reference = video_reference(machine, source)
    inputs = replace(machine.inputs(13, steps=4), reference=reference, sampler=comfy.samplers.KSAMPLER(first_latent))
    denoise = Denoiser(inputs, replace(CONFIG, source_strength=0.5), References(reference), lambda *report: None)
    window, noise = PLAN[1], torch.randn(1, 16, 3, 8, 8, generator=torch.manual_seed(PLAN[1].seed))
    denoise(TAKES[1], reference.at(window).first)
    shown = torch.stack([picture.float() / 255 for picture in source.frames(window.start / 25, 9)])
    latent = machine.plain.model.process_latent_in(WanVae(machine.vae).encode(shown))
    x, sigmas = started[0]
    assert torch.equal(sigmas, inputs.sigmas[2:])
    torch.testing.assert_close(x, sigmas[0] * noise + (1 - sigmas[0]) * latent)


def test_sdedit_runs_its_share_of_the_steps(machine):
    from infinitetalk.schedule import flow_sigmas, last_steps

    sigmas = flow_sigmas(10, 5.0)
    assert torch.equal(last_steps(sigmas, 1.0), sigmas)
    assert torch.equal(last_steps(sigmas, 0.7), sigmas[3:])
    between = last_steps(flow_sigmas(4, 2.0), 0.9)  # 0.4 of the first step is left out
    whole = flow_sigmas(4, 2.0)
    assert torch.equal(between[1:], whole[1:]) and whole[1] < between[0] < whole[0]
    torch.testing.assert_close(between[0], whole[0] + 0.4 * (whole[1] - whole[0]))
    last = last_steps(sigmas, 0.01)
    assert len(last) == 2 and 0 < last[0] < sigmas[-2] and last[1] == 0


def test_sdedit_needs_a_source_video(machine, tmp_path):
    with pytest.raises(InputError, match="source_strength: 0.5 starts from a source video, and the reference is a pic"):
        run(machine, tmp_path, machine.reference, source_strength=0.5)


def test_colours_follow_the_first_frame_or_each_windows_own(machine, tmp_path):
    reference = video_reference(machine, shades(*[0.1] * 4, *[0.6] * 9))
    first = run(machine, tmp_path, reference, colour_reference="first")
    own = run(machine, tmp_path, reference, colour_reference="window")
    assert np.abs(first[:8] - own[:8]).max() <= 1
    assert own[9:].mean() > first[9:].mean() + 60  # the second window begins at frame 4
    assert abs(first[9:].mean() - first[:8].mean()) < 10
