"""A whole run in this process: length, repeatability, what it leaves untouched, and what is kept when it is stopped."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def read(path) -> tuple[np.ndarray, float, float]:
    """(frames [F, H, W, 3], seconds of video, seconds of sound) of a file."""
    with av.open(str(path)) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        seconds = float(video.duration * video.time_base), float(sound.duration * sound.time_base)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video)]), *seconds


def run(machine, tmp_path, frames=20, config=None, **changes):
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    with folders(tmp_path):
        return render(replace(machine.inputs(frames), **changes), config or CONFIG).path


@pytest.mark.parametrize("frames", [2, 5, 9, 10, 13, 20])
def test_the_video_is_as_long_as_the_speech(machine, tmp_path, frames):
    pictures, seconds, sound = read(run(machine, tmp_path, frames))
    assert pictures.shape == (frames, 48, 48, 3)
    assert seconds == pytest.approx(frames / 25)
    assert sound == pytest.approx(frames / 25, abs=1024 / 16000)


def test_clip_mode_makes_the_first_window_only(machine, tmp_path):
    from tests.host.machine import CONFIG

    whole, _, _ = read(run(machine, tmp_path, 20))
    clip, _, sound = read(run(machine, tmp_path, 20, replace(CONFIG, mode="clip")))
    assert len(clip) == 9 and np.array_equal(clip, whole[:9])
    assert sound == pytest.approx(9 / 25, abs=1024 / 16000)


def test_the_same_seed_gives_the_same_video_and_another_does_not(machine, tmp_path):
    from tests.host.machine import CONFIG

    first, again, other = (
        read(run(machine, tmp_path, 13, replace(CONFIG, seed=seed)))[0].astype(int) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 5


def test_windows_continue_each_other_and_have_seeds_of_their_own(machine, tmp_path):
    from tests.host.machine import CONFIG

    one = read(run(machine, tmp_path, 13, CONFIG))[0].astype(int)
    later_only = read(run(machine, tmp_path, 13, replace(CONFIG, window=WindowConfig(9, 1))))[0].astype(int)
    assert np.array_equal(one[:9], later_only[:9])  # the first window does not depend on the overlap
    assert not np.array_equal(one[9:], later_only[9:])


def test_nothing_given_is_changed(machine, tmp_path):
    inputs = machine.inputs(13)
    reference, speech = inputs.reference.latent.clone(), inputs.features.speech.clone()
    texts = [text[0][0].clone() for text in machine.texts]
    device, options = machine.vae.output_device, copy.deepcopy(machine.model.model_options["transformer_options"])
    run(machine, tmp_path, 13)
    assert torch.equal(inputs.reference.latent, reference) and torch.equal(inputs.features.speech, speech)
    assert all(
        torch.equal(text[0][0], before) and text[0][1] == {} for text, before in zip(machine.texts, texts, strict=True)
    )
    assert machine.vae.output_device == device
    assert machine.model.model_options["transformer_options"].keys() == options.keys()
    assert machine.model.get_wrappers("predict_noise", "infinitetalk") == []


def test_window_and_sampler_nodes_agree(machine, tmp_path):
    """Chaining InfiniteTalk Window by hand gives what the Sampler streams."""
    from infinitetalk.colour import match_colour
    from infinitetalk.host.vae import WanVae
    from infinitetalk.host.window import prepare_window
    from infinitetalk.join import join
    from infinitetalk.segment import write_segment
    from infinitetalk.video import to_uint8
    from tests.host.machine import CONFIG

    inputs, config = machine.inputs(13), CONFIG
    host = (inputs.model, inputs.vae, inputs.positive, inputs.negative)
    joined, previous = [], None
    for index in range(2):
        prepared = prepare_window(host, inputs.features, inputs.reference, config, index, previous)
        _, guider, _, _, latent, motion, new = prepared
        noise = torch.randn(latent["samples"].shape, generator=torch.manual_seed(config.seed + index))
        out = guider.sample(noise, latent["samples"], inputs.sampler, inputs.sigmas, seed=config.seed + index)
        previous = match_colour(WanVae(inputs.vae).decode(out), inputs.reference.picture, config.colour)
        joined.append(to_uint8(previous[motion : motion + new]))
    segments = [tmp_path / f"{number}.mp4" for number in range(2)]
    for frames, path in zip(joined, segments, strict=True):
        write_segment(frames, path)
    chained = join(segments, tmp_path / "joined.mp4", inputs.features.sound)
    assert np.array_equal(read(chained)[0], read(run(machine, tmp_path, 13))[0])


def stopping(machine, at_call: int, action):
    """A model that does `action` at its n-th call, and the list of calls so far."""
    from comfy.patcher_extension import WrappersMP

    calls = []

    def count(executor, *args, **kwargs):
        calls.append(len(calls) + 1)
        if len(calls) == at_call:
            action()
        return executor(*args, **kwargs)

    model = machine.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "stop", count)
    return model, calls


def kept(tmp_path):
    """(videos in the folders of runs, finished windows' segments, what is in the temp folder)."""
    runs = tmp_path / "output" / "InfiniteTalk" / "runs"
    return sorted(runs.glob("*/*.mp4")), sorted(runs.glob("*/windows/*.mp4")), sorted((tmp_path / "temp").rglob("*"))


def test_cancel_ends_within_a_step_and_keeps_the_finished_windows(machine, tmp_path):
    import comfy.model_management as management

    model, calls = stopping(machine, 5, lambda: management.interrupt_current_processing(True))
    with pytest.raises(management.InterruptProcessingException):
        run(machine, tmp_path, 20, model=model)
    assert len(calls) == 5  # three windows of two steps were left
    (saved,), segments, temp = kept(tmp_path)
    assert saved.name == "unfinished.mp4" and len(segments) == 2 and temp == []
    pictures, seconds, sound = read(saved)
    assert len(pictures) == 13  # two windows: 9 + 4
    assert sound == pytest.approx(13 / 25, abs=1024 / 16000)
    whole, _, _ = read(run(machine, tmp_path, 20))
    assert np.array_equal(whole[:13], pictures)


def test_cancel_in_the_first_window_leaves_nothing(machine, tmp_path):
    import comfy.model_management as management

    model, _ = stopping(machine, 2, lambda: management.interrupt_current_processing(True))
    with pytest.raises(management.InterruptProcessingException):
        run(machine, tmp_path, 20, model=model)
    assert kept(tmp_path) == ([], [], [])


def test_out_of_memory_keeps_the_finished_windows(machine, tmp_path):
    def no_memory():
        raise torch.OutOfMemoryError("no memory left")

    model, _ = stopping(machine, 3, no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        run(machine, tmp_path, 20, model=model)
    (saved,), _, temp = kept(tmp_path)
    assert len(read(saved)[0]) == 9 and temp == []


def test_an_output_folder_that_cannot_be_written_is_refused_before_sampling(machine, tmp_path):
    from infinitetalk.host.run import render
    from tests.host.machine import CONFIG, folders

    model, calls = stopping(machine, 0, lambda: None)
    with folders(tmp_path):
        import folder_paths

        (tmp_path / "a_file").write_bytes(b"")
        folder_paths.set_output_directory(str(tmp_path / "a_file" / "output"))
        with pytest.raises(InputError, match="cannot be written"):
            render(machine.inputs(13, model=model), CONFIG)
    assert calls == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": torch.ones(1)}, "sigmas: .* is not a schedule"),
        ({"sigmas": torch.tensor([1.0, float("nan"), 0.0])}, "sigmas: .* is not a schedule"),
        ({"positive": []}, "positive: the conditioning is empty"),
    ],
)
def test_inputs_that_cannot_work_are_refused_before_sampling(machine, tmp_path, change, message):
    model, calls = stopping(machine, 0, lambda: None)
    with pytest.raises(InputError, match=message):
        run(machine, tmp_path, 13, **{"model": model, **change})
    assert calls == [] and kept(tmp_path) == ([], [], [])


def test_features_of_another_encoder_are_refused(machine, tmp_path):
    features = replace(machine.features(), speech=torch.zeros(9, 12, 96), silence=torch.zeros(20, 12, 96))
    with pytest.raises(InputError, match="12 layers of 96 channels are 1152 values per frame"):
        run(machine, tmp_path, 9, features=features)


def test_windows_longer_than_the_reference_are_refused(machine, tmp_path):
    from tests.host.machine import CONFIG

    with pytest.raises(InputError, match="frames per window: 17 is more than the 9 frames"):
        run(machine, tmp_path, 20, replace(CONFIG, window=WindowConfig(17, 5)))


def test_what_stopped_the_run_stays_the_error(machine, tmp_path):
    """The output folder vanishes during the run, and what was in it: the cancel is still a cancel."""
    import shutil

    import comfy.model_management as management

    def stop():
        shutil.rmtree(tmp_path / "output")
        (tmp_path / "output").write_bytes(b"")  # a file in its place
        management.interrupt_current_processing(True)

    model, _ = stopping(machine, 3, stop)
    with pytest.raises(management.InterruptProcessingException):
        run(machine, tmp_path, 20, model=model)
    assert (tmp_path / "output").read_bytes() == b""


def test_the_last_seed_of_all_has_a_successor(machine, tmp_path):
    from tests.host.machine import CONFIG

    assert len(read(run(machine, tmp_path, 13, replace(CONFIG, seed=2**64 - 1)))[0]) == 13


def test_a_float32_adapter_is_kept_in_the_models_precision(machine, tmp_path):
    from safetensors.torch import load_file, save_file

    from demo.small_model import ADAPTER
    from infinitetalk.host.loading import load_adapter_file

    wide = {key: value.float() for key, value in load_file(machine.models / ADAPTER).items()}
    mixed = {key: value if "norm" in key or "bias" in key else value.half() for key, value in wide.items()}
    for name, tensors, kept in (("wide", wide, torch.bfloat16), ("mixed", mixed, torch.float16)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        patch = load_adapter_file(str(tmp_path / f"{name}.safetensors"), torch.bfloat16)
        assert {parameter.dtype for parameter in patch.model.parameters()} == {kept}


if sys.platform != "win32":  # it has no such limit

    def test_a_disk_without_room_keeps_the_windows(machine, tmp_path):
        """A limit on the size of files stands for the full disk; the cancel stays a cancel."""
        import resource

        import comfy.model_management as management

        before = resource.getrlimit(resource.RLIMIT_FSIZE)

        def stop():
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
            management.interrupt_current_processing(True)

        model, _ = stopping(machine, 5, stop)
        try:
            with pytest.raises(management.InterruptProcessingException):
                run(machine, tmp_path, 20, model=model)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        videos, segments, _ = kept(tmp_path)
        assert [path.name for path in videos] == ["live.mp4"] and len(segments) == 2
        assert len(read(run(machine, tmp_path, 20))[0]) == 20  # and with room again it goes on


def test_a_model_that_makes_no_numbers_stops_at_that_window(machine, tmp_path):
    from comfy.patcher_extension import WrappersMP

    calls = []

    def spoil(executor, *args, **kwargs):
        calls.append(1)
        return executor(*args, **kwargs) * (float("nan") if len(calls) > 2 else 1)

    model = machine.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spoil", spoil)
    with pytest.raises(InputError, match=r"window 2 \(frames 4 to 13\) came out as NaN"):
        run(machine, tmp_path, 20, model=model)
    (saved,), _, _ = kept(tmp_path)
    assert len(read(saved)[0]) == 9


@pytest.fixture
def damaged(machine, tmp_path):
    """The small model with one NaN among its weights, and the list of its calls."""
    from comfy.patcher_extension import WrappersMP
    from safetensors.torch import load_file, save_file

    from demo.small_model import DIT
    from infinitetalk.host.attach import attach
    from infinitetalk.host.loading import load_base_file

    tensors = load_file(machine.models / DIT)
    tensors["blocks.0.ffn.0.weight"][3, 5] = float("nan")
    save_file(tensors, tmp_path / "damaged.safetensors")
    calls = []

    def count(executor, *args, **kwargs):
        calls.append(1)
        return executor(*args, **kwargs)

    model = attach(load_base_file(str(tmp_path / "damaged.safetensors")), machine.patch)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    return model, calls


DAMAGED = r"model: damaged.safetensors with adapter infinitetalk_small_adapter.safetensors: the first step gives .*NaN"


def test_one_bad_weight_stops_a_run_after_its_first_step(machine, tmp_path, damaged):
    """Elsewhere the video comes out black, hours later."""
    from infinitetalk.schedule import flow_sigmas

    model, calls = damaged
    with pytest.raises(InputError, match=DAMAGED) as refused:
        run(machine, tmp_path, 20, model=model, sigmas=flow_sigmas(6, 5.0))
    assert "fetch both again" in str(refused.value).split("\n")[1]
    assert len(calls) <= 3  # the branches of one step
    assert not kept(tmp_path)[1]


def test_one_bad_weight_stops_the_host_s_own_sampler(machine, damaged):
    from infinitetalk.host.attach import KEY, LOOK_KEY, detach
    from infinitetalk.host.window import prepare_window
    from tests.host.machine import CONFIG

    model, calls = damaged
    inputs = machine.inputs(9, steps=6, model=model)
    host = (inputs.model, inputs.vae, inputs.positive, inputs.negative)
    prepared, guider, _, _, latent, _, _ = prepare_window(host, inputs.features, inputs.reference, CONFIG, 0, None)
    with pytest.raises(InputError, match=DAMAGED):
        guider.sample(torch.randn(latent["samples"].shape), latent["samples"], inputs.sampler, inputs.sigmas, seed=1)
    assert len(calls) <= 3
    assert prepared.get_wrappers("outer_sample", LOOK_KEY) and not inputs.model.get_wrappers("outer_sample", LOOK_KEY)
    plain = detach(prepared)
    assert not plain.get_wrappers("outer_sample", LOOK_KEY) and not plain.get_wrappers("outer_sample", KEY)


def test_only_the_first_take_of_a_run_is_looked_at_and_once(machine, tmp_path, monkeypatch):
    """The look waits for the device: not at every step, nor in every window."""
    from infinitetalk.host import first_look

    looks, check = [], first_look._check
    monkeypatch.setattr(first_look, "_check", lambda *given: (looks.append(1), check(*given)))
    assert len(read(run(machine, tmp_path, 20))[0]) == 20
    assert len(looks) == 1


def test_text_of_another_model_is_refused(machine, tmp_path):
    with pytest.raises(InputError, match="positive: the text embeddings are 768 wide, the model takes 4096"):
        run(machine, tmp_path, 9, positive=[[torch.zeros(1, 77, 768), {}]])
