"""The drawn world keeps its promises: one seed one picture, boxes that hold the mouth, and a mouth that pixels tell."""

import math
from dataclasses import replace

import pytest
import torch

from talker.draw import draw
from talker.looks import luminance, sample_looks
from talker.measure import LIT
from talker.motion import BROW, CAMERAS, NOD, SWAY, camera_at
from talker.scene import mouth_boxes, person_boxes, pose_at, sample_scenes, search_boxes

DARK = 0.14
KINDS = [(1, (128, 128)), (1, (96, 160)), (1, (160, 96)), (2, (128, 192)), (3, (128, 256))]


def mouths(scene, count, seed=0):
    """Random opening, width and energy, each [B, P, count]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, *scene.x.shape, count, generator=generator).unbind(0)


def light(frames):
    """Luminance [B, T, H, W] of frames [B, T, 3, H, W]."""
    return luminance(frames.movedim(2, -1))


def inside(boxes, size):
    """Which pixels [..., H, W] lie wholly in boxes [..., 4]."""
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])
    x0, y0, x1, y1 = (edge[..., None, None] for edge in boxes.unbind(-1))
    return (x >= x0) & (x + 1 <= x1) & (y >= y0) & (y + 1 <= y1)


def at_extremes(scene):
    """The scene once for each sign of its three sways, held at the crest of all sines: 8 poses for times 0 to 7."""
    signs = torch.cartesian_prod(*[torch.tensor((-1.0, 1.0))] * 3)  # [8, 3]
    crest = (math.pi / 2) * signs[None, None, :, :, None].expand(*scene.x.shape, 8, 3, 3)
    for i in range(8):
        still = torch.zeros_like(scene.motion.rate)
        yield replace(scene, motion=replace(scene.motion, rate=still, phase=crest[:, :, i].clone()))


def test_a_seed_means_the_same_picture():
    times = torch.tensor([0.0, 0.7])
    frames = []
    for _ in range(2):
        scene = sample_scenes(3, people=2, size=(128, 192), seed=5)
        frames.append(draw(scene, times, *mouths(scene, 2)))
    assert torch.equal(frames[0], frames[1])
    other = sample_scenes(3, people=2, size=(128, 192), seed=6)
    assert (draw(other, times, *mouths(other, 2)) - frames[0]).abs().mean() > 0.05
    generator = torch.Generator().manual_seed(5)
    scene = sample_scenes(3, people=2, size=(128, 192), seed=generator)
    assert torch.equal(draw(scene, times, *mouths(scene, 2)), frames[0])


@pytest.mark.parametrize("people, size", KINDS)
def test_a_frame_does_not_depend_on_its_batch_or_its_neighbours_in_time(people, size):
    scene = sample_scenes(3, people, size, seed=1, camera=torch.tensor([1, 3, 0]))
    times = torch.tensor([0.1, 1.9, 31.0])
    opening, width, energy = mouths(scene, 3)
    frames = draw(scene, times, opening, width, energy)
    assert frames.shape == (3, 3, 3, *size) and frames.dtype == torch.float32
    assert frames.min() >= 0 and frames.max() <= 1
    alone = draw(scene.select([1]), times[2:], opening[1:2, :, 2:], width[1:2, :, 2:], energy[1:2, :, 2:])
    assert torch.allclose(alone[0, 0], frames[1, 2], atol=1e-5)


def test_a_larger_picture_is_the_same_picture():
    scene = sample_scenes(4, seed=2)
    mouth = mouths(scene, 1)
    small = draw(scene, torch.tensor([0.4]), *mouth)
    large = draw(scene, torch.tensor([0.4]), *mouth, scale=4)
    assert large.shape[-2:] == (512, 512)
    assert (torch.nn.functional.avg_pool2d(large[:, 0], 4) - small[:, 0]).abs().mean() < 0.004


@pytest.mark.parametrize("people, size", KINDS)
def test_nothing_in_the_search_box_is_dark_while_the_mouth_is_shut(people, size):
    scene = sample_scenes(-(-200 // people), people, size, seed=3)
    _, width, energy = mouths(scene, 1)
    drawn = draw(scene, torch.tensor([0.3]), torch.zeros_like(width), width, energy)
    seen, box = light(drawn), inside(search_boxes(scene), size).any(1, keepdim=True)
    assert seen[box.expand_as(seen)].min() > 0.25  # far from the limit of 0.14
    assert drawn[:, :, 0][box.expand_as(seen)].min() > LIT  # nothing counts as the inside of a mouth


@pytest.mark.parametrize("people, size", KINDS)
def test_an_open_mouth_stays_in_its_boxes_at_the_furthest_sway(people, size):
    base = sample_scenes(8, people, size, seed=4)
    times = torch.zeros(1)
    open_, energy = torch.ones(8, people, 1), torch.ones(8, people, 1)
    search, width = inside(search_boxes(base), size).any(1), mouths(base, 1)[0].round()
    for scene in at_extremes(base):
        shut = light(draw(scene, times, 0 * open_, width, energy))[:, 0]
        wide = light(draw(scene, times, open_, width, energy))[:, 0]
        interior = (wide < DARK) & (shut >= DARK)
        near = inside(mouth_boxes(scene, times, energy)[:, :, 0], size).any(1)
        assert interior.any((1, 2)).all()
        assert not (interior & ~search).any() and not (interior & ~near).any()
        assert not ((shut < DARK) & search).any()


@pytest.mark.parametrize("people, size", KINDS)
def test_dark_pixels_tell_the_opening(people, size):
    scene = sample_scenes(6, people, size, seed=7)
    opening, width, energy = mouths(scene, 16)
    times = torch.arange(16) * 0.31
    at_rest = light(draw(scene, times, opening, torch.full_like(width, 0.5), energy))
    spread = light(draw(scene, times, opening, width, energy))
    for person in range(people):
        box = inside(search_boxes(scene)[:, person], size)[:, None]
        for frames, truth in ((at_rest, opening), (spread, opening * (5 + 7 * width))):
            dark = ((frames < DARK) & box).sum((2, 3)).float()
            for scene_dark, scene_truth in zip(dark, truth[:, person], strict=True):
                assert torch.corrcoef(torch.stack((scene_dark, scene_truth)))[0, 1] > 0.99


def test_each_person_is_drawn_in_a_region_of_their_own():
    scene = sample_scenes(8, 3, (128, 256), seed=8)
    times = torch.tensor([0.5, 3.0])
    boxes = person_boxes(scene)
    assert (boxes[:, :-1, 2] <= boxes[:, 1:, 0]).all()
    opening = torch.zeros(8, 3, 2)
    shut = draw(scene, times, opening, opening, opening)
    for person in range(3):
        speaking = opening.clone()
        speaking[:, person] = 1
        changed = (draw(scene, times, speaking, opening, speaking) != shut).any(2)
        assert changed.any() and not (changed & ~inside(boxes[:, person], (128, 256))[:, None]).any()


def test_lips_stand_out_from_bright_skin():
    looks = sample_looks(500, 1, torch.Generator().manual_seed(9))
    skin, lips = luminance(looks.skin), luminance(looks.lips)
    assert skin.min() > 0.5 and luminance(looks.shade).min() > 0.4
    assert lips.min() > 0.32 and lips.max() < 0.46
    assert (skin - lips).min() > 0.15
    red = [colour[..., 0] - colour[..., 1:].mean(-1) for colour in (looks.lips, looks.skin)]
    assert (red[0] - red[1]).min() > 0.1


def test_heads_sway_nod_and_blink_as_stated():
    scene = sample_scenes(40, seed=10)
    pose = pose_at(scene, torch.arange(0, 120, 0.04))
    for value, sd in zip((pose.x, pose.y, pose.turn), SWAY, strict=True):
        assert torch.allclose(value.std(-1).mean(), torch.tensor(sd), rtol=0.05)
    gaps = scene.motion.blinks.diff(dim=-1)
    assert gaps.min() >= 2 and gaps.max() <= 5
    shut = (pose.blink > 0.5).float().mean().item() * 120 / 0.1  # half of the 0.2 s of a blink
    assert 120 / 5 < shut < 120 / 2
    times, energy = torch.tensor([1.0]), torch.ones(40, 1, 1)
    calm, lively = pose_at(scene, times), pose_at(scene, times, energy)
    assert torch.allclose(lively.y - calm.y, NOD * scene.motion.nod[..., None], atol=1e-5)
    assert torch.allclose(lively.brow - calm.brow, BROW * scene.motion.lift[..., None])


def test_cameras_move_at_their_speed():
    camera = torch.arange(len(CAMERAS)).repeat(20)
    scene = sample_scenes(len(camera), seed=11, camera=camera)
    zoom, pan = camera_at(scene.camera, torch.tensor([[0.0, 1.0]]).expand(len(camera), -1))
    assert (zoom[:, 0] == 1).all() and (pan[:, 0] == 0).all()
    speed, growth = pan[:, 1], zoom[:, 1].log()
    for kind, (across, larger) in enumerate(((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))):
        for values, sign, unit in ((speed, across, 1), (growth, larger, 0.01)):
            values = values[camera == kind] * (sign or 1)
            assert (
                (values.abs() < 1e-6).all() if not sign else (values.min() > 2.9 * unit and values.max() < 8.1 * unit)
            )


def test_the_picture_moves_with_the_camera():
    scene = sample_scenes(1, seed=12, camera=torch.tensor([1]))
    still = replace(scene.motion, size=0 * scene.motion.size, blinks=scene.motion.blinks + 9)
    scene = replace(scene, motion=still, camera=replace(scene.camera, pan=torch.tensor([5.0])))
    shut = torch.zeros(1, 1, 2)
    first, second = draw(scene, torch.tensor([0.0, 1.0]), shut, shut)[0]
    assert (second[..., 5:] - first[..., :-5]).abs().mean() < 0.002 < (second - first).abs().mean()


@pytest.mark.parametrize("people, size", KINDS)
def test_no_camera_ever_loses_a_mouth(people, size):
    scene = sample_scenes(40, people, size, seed=13, camera=torch.arange(40) % len(CAMERAS))
    times = torch.arange(0, 60, 0.25)
    boxes, neutral = search_boxes(scene, times), search_boxes(scene)
    assert torch.allclose(boxes[:, :, 0], neutral, atol=1e-3)
    wide = mouth_boxes(scene, times)
    shape = (wide[..., 2] - wide[..., 0]) / (wide[..., 3] - wide[..., 1])  # smaller where the frame's edge cuts the box
    shape = shape / shape.amax(2, keepdim=True)
    assert (shape > 0.98).float().mean() > 0.995 and shape.min() > 0.8
    middle = (wide[..., :2] + wide[..., 2:]) / 2
    assert ((middle >= boxes[..., :2]) & (middle <= boxes[..., 2:])).all()


def test_scenes_can_be_compiled():
    scene = sample_scenes(2, 2, (128, 192), seed=14, camera=torch.tensor([2, 4]))
    mouth, times = mouths(scene, 2), torch.tensor([0.2, 0.9])
    compiled = torch.compile(draw, backend="eager", fullgraph=True)  # one graph, without its slow code generation
    assert torch.allclose(compiled(scene, times, *mouth), draw(scene, times, *mouth), atol=1e-5)
