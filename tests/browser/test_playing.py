"""What a browser makes of joined and of growing files, through the host's own route."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from infinitetalk.join import join
from infinitetalk.live import Growing
from infinitetalk.segment import write_segment
from infinitetalk.sound import MemorySound
from tests.unit.clips import number_of, numbered_picture

LENGTHS = [30, 1, 2, 55]
SOUND = MemorySound(torch.rand(1, 1, 16_000 * 4) - 0.5, 16_000)
SEEK = """async (video, second) => {
    const shown = new Promise(done => video.requestVideoFrameCallback((now, frame) => done(frame.mediaTime)));
    video.currentTime = second;
    const time = await shown;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight).getContext("2d");
    canvas.drawImage(video, 0, 0);
    return [time, Array.from(canvas.getImageData(0, 0, video.videoWidth, video.videoHeight).data)];
}"""
READY = "video => video.readyState >= 2 || new Promise(done => video.onloadeddata = done)"
PLAY = """async video => {
    video.muted = true;
    video.playbackRate = 4;
    await video.play();
    await (video.ended || new Promise(done => video.onended = done));
    return [video.error, video.webkitAudioDecodedByteCount > 0];
}"""


@pytest.fixture(scope="module")
def segments(tmp_path_factory) -> list[Path]:
    folder, first, made = tmp_path_factory.mktemp("segments"), 0, []
    for index, count in enumerate(LENGTHS):
        made.append(folder / f"{index}.mp4")
        write_segment(np.stack([numbered_picture(first + n) for n in range(count)]), made[-1])
        first += count
    return made


def watch(editor, name: str):
    editor.page.goto(f"{editor.server.url}/view?filename={name}&subfolder=&type=output")
    video = editor.page.locator("video")
    video.evaluate(READY)
    return video


def test_a_joined_video_has_its_exact_length_and_finds_every_frame(editor, segments):
    join(segments, editor.server.base / "output" / "joined.mp4", SOUND)
    video = watch(editor, "joined.mp4")
    assert video.evaluate("video => video.duration") == pytest.approx(sum(LENGTHS) / 25, abs=1e-6)
    for frame in (87, 0, 29, 30, 31, 32, 33, 34, 83, 60):
        time, pixels = video.evaluate(SEEK, frame / 25 + 0.01)
        assert time == pytest.approx(frame / 25, abs=1e-6)
        assert number_of(np.array(pixels).reshape(64, 64, 4)) == frame
    video.evaluate("video => { video.currentTime = 0; }")
    assert video.evaluate(PLAY) == [None, True]


def test_a_growing_video_plays_as_far_as_it_is_and_may_grow_meanwhile(editor, segments):
    growing, frames = Growing(editor.server.base / "output" / "growing.mp4", SOUND), 0
    for index, segment in enumerate(segments):
        growing.add(segment)
        frames += LENGTHS[index]
        video = watch(editor, "growing.mp4")
        assert video.evaluate("video => video.duration") == pytest.approx(frames / 25, abs=0.2)
        if index == 0:  # it grows while it is open, and while it is played
            growing.add(segments[3])
            frames += LENGTHS[3]
        assert video.evaluate(PLAY) == [None, True]
        time, pixels = video.evaluate(SEEK, 20 / 25 + 0.01)
        assert time == pytest.approx(20 / 25, abs=1e-6) and number_of(np.array(pixels).reshape(64, 64, 4)) == 20
