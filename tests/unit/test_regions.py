"""Boxes, masks and columns become tokens; what cannot be a region is refused with its numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.region_preview import COLOURS, draw_regions
from infinitetalk.regions import (
    Box,
    Canvas,
    assign,
    box_mask,
    check_regions,
    default_masks,
    parse_box,
    read_boxes,
    reference_box,
    with_background,
)

CANVAS = Canvas((100, 200), (64, 128))  # 4 x 8 tokens; one is 25 pixels of the picture
PAIR = ["speaker 1 (Ann)", "speaker 2"]
ONE = {"x": 10, "y": 20, "width": 30, "height": 40}
OTHER = {"x": 1, "y": 2, "width": 3, "height": 4, "label": "face", "score": 0.9}


def painted(rows: slice, columns: slice, size=(100, 200)) -> torch.Tensor:
    mask = torch.zeros(1, *size)
    mask[:, rows, columns] = 1.0
    return mask


LEFT, RIGHT = painted(slice(0, 100), slice(0, 100)), painted(slice(0, 100), slice(100, 200))


@pytest.mark.parametrize("text", ["10, 20, 30, 40", " 10 20 30 40 ", "10;20;30;40", "10,20,30,40,"])
def test_a_box_string_is_read(text):
    assert parse_box(text) == Box(10, 20, 30, 40)


def test_no_box_string_is_no_box():
    assert parse_box("  ") is None


@pytest.mark.parametrize(
    "text", ["10, 20, 30", "a, b, c, d", "1,2,3,4,5", "nan, 0, 5, 5", "0,0,inf,5", "0,0,0,5", "5,5,-1,2"]
)
def test_a_box_string_that_is_no_box_is_refused(text):
    with pytest.raises(InputError, match="box: "):
        parse_box(text)


@pytest.mark.parametrize("value", [ONE, [ONE, OTHER], [[ONE, OTHER], [OTHER]], ([ONE], [])])
def test_all_forms_of_a_bounding_box_are_read(value):
    assert read_boxes(value) == Box(10, 20, 30, 40)


@pytest.mark.parametrize("value", [[ONE, OTHER], [[ONE, OTHER], [ONE]]])
def test_a_later_box_of_the_picture_can_be_chosen(value):
    assert read_boxes(value, 2) == Box(1, 2, 3, 4)


@pytest.mark.parametrize(
    "value", [[], [[]], [[], [ONE]], "1,2,3,4", 7, None, {"x": 1}, [{"x": 1, "y": 2, "width": "w", "height": 4}], [7]]
)
def test_what_holds_no_box_is_refused(value):
    with pytest.raises(InputError, match="boxes: "):
        read_boxes(value)


@pytest.mark.parametrize("number", [0, -1, 3])
def test_a_box_that_is_not_in_the_list_is_refused(number):
    boxes = [{"x": n, "y": 0, "width": 1, "height": 1} for n in range(2)]
    with pytest.raises(InputError, match=rf"boxes: box {number} is wanted, 2 were found.*\n.*box_number"):
        read_boxes(boxes, number)


def test_the_references_numbers_select_rows_with_x():
    box = reference_box([30.7, 10.2, 190.9, 120.6])
    mask = box_mask(box, (300, 200))
    assert mask[30:190, 10:120].all() and mask.sum() == 160 * 110


@pytest.mark.parametrize("numbers", [[1, 2, 3], [1, 2, math.nan, 4], ["a", 1, 2, 3], [5, 5, 5, 9]])
def test_the_references_numbers_must_be_four(numbers):
    with pytest.raises(InputError):
        reference_box(numbers)


def test_a_box_is_cut_at_the_pictures_edges():
    mask = box_mask(Box(-10.5, 90, 30, 100), (100, 200))
    assert mask[90:, :19].all() and mask.sum() == 10 * 19


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_default_columns_are_equal_apart_and_inside_margins(count):
    masks = default_masks(count, (100, 200))
    assert masks.sum(dim=0).max() == 1
    assert (masks.flatten(1).sum(dim=1).float() / masks[0].sum() - 1).abs().max() < 0.06  # a pixel of rounding
    assert not masks[:, :5].any() and not masks[:, 95:].any() and not masks[..., 0].any() and not masks[..., -1].any()
    first = [mask.any(dim=0).nonzero()[0].item() for mask in masks]
    assert first == sorted(first)


def test_the_background_is_where_nobody_is():
    persons = default_masks(3, (20, 60))
    assert torch.equal(with_background(persons)[-1], 1 - persons.sum(dim=0))


def test_columns_masks_and_boxes_give_the_same_tokens():
    columns, notes = assign([None, None], PAIR, CANVAS)
    edges = [Box(5, 5, 90, 90), Box(105, 5, 90, 90)]
    boxes, _ = assign(edges, PAIR, CANVAS)
    masks, _ = assign([box_mask(box, CANVAS.source).float()[None] for box in edges], PAIR, CANVAS)
    assert columns.shape == (3, 4, 8) and columns.dtype == torch.uint8 and notes == []
    assert torch.equal(columns, boxes) and torch.equal(columns, masks)


def test_one_speaker_without_region_has_the_whole_picture():
    assert assign([None], PAIR[:1], CANVAS) == (None, [])


def test_one_speaker_with_region_leaves_the_rest_to_everybody_else():
    tokens, _ = assign([LEFT], PAIR[:1], CANVAS)
    assert torch.equal(tokens[0], 1 - tokens[1]) and tokens[0, :, :4].all() and not tokens[2].any()


def test_one_region_of_the_whole_picture_is_no_region():
    tokens, notes = assign([torch.ones(1, 100, 200)], PAIR[:1], CANVAS)
    assert tokens is None and "whole picture" in notes[0]


def test_a_mask_of_another_size_is_resized_with_a_note():
    tokens, notes = assign([painted(slice(0, 50), slice(0, 25), (50, 50)), RIGHT], PAIR, CANVAS)
    assert torch.equal(tokens, assign([LEFT, RIGHT], PAIR, CANVAS)[0])
    assert notes == ["speaker 1 (Ann): the mask of 50x50 pixels was resized to the picture's 200x100."]


def test_a_mask_of_the_videos_size_lies_on_the_video():
    """Also where the video is a part of the picture: a square picture, a flat video."""
    canvas = Canvas((200, 200), (64, 128))
    mask = painted(slice(0, 16), slice(0, 16), (64, 128))
    tokens, notes = assign([mask, painted(slice(16, 64), slice(64, 128), (64, 128))], PAIR, canvas)
    assert tokens[0].nonzero().tolist() == [[0, 0]] and notes == []


def test_of_several_masks_the_first_is_used():
    tokens, notes = assign([torch.cat((LEFT, RIGHT)), RIGHT], PAIR, CANVAS)
    assert torch.equal(tokens, assign([LEFT, RIGHT], PAIR, CANVAS)[0]) and "first of 2 masks" in notes[0]


def test_a_box_partly_outside_is_used_with_a_note():
    tokens, notes = assign([Box(-50, -50, 150, 200), RIGHT], PAIR, CANVAS)
    assert torch.equal(tokens, assign([LEFT, RIGHT], PAIR, CANVAS)[0]) and "outside the 200x100" in notes[0]


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (Box(300, 10, 20, 20), r"speaker 1 \(Ann\): the box 300, 10, 20, 20 lies outside the picture of 200x100"),
        (Box(10.2, 10.2, 0.5, 0.5), "or holds no pixel"),
        (
            Box(1, 1, 4, 4),
            r"covers no token of the 128x64 video.\nMake it at least 25x25 pixels of the 200x100 picture",
        ),
        (torch.zeros(1, 64, 64), "mask of 64x64 pixels is empty"),
        (torch.full((1, 100, 200), 0.4), "nothing in it reaches 0.5"),
        (torch.full((1, 100, 200), math.nan), "NaN"),
        (torch.zeros(1, 0, 0), "no pixels"),
        (torch.zeros(0, 100, 200), "no pixels"),
        (torch.ones(1, 1, 100, 200), "has shape"),
        (painted(slice(0, 100), slice(40, 180)), r"share 8.% of the smaller one.\nDraw them apart: at most 25%"),
        (RIGHT, "share 100%"),
    ],
)
def test_regions_that_cannot_work_are_refused(region, message):
    other = painted(slice(0, 100), slice(100, 200))
    with pytest.raises(InputError, match=message):
        assign([region, other], PAIR, CANVAS)


def test_a_region_in_the_part_that_is_cut_off_is_refused():
    with pytest.raises(InputError, match="cut off"):
        assign([Box(0, 0, 200, 30), Box(0, 100, 200, 50)], PAIR, Canvas((200, 200), (64, 128)))


def test_a_little_overlap_is_allowed():
    tokens, _ = assign([painted(slice(0, 100), slice(0, 124)), RIGHT], PAIR, CANVAS)
    assert (tokens[:2].sum(dim=0) == 2).any()


def test_the_size_that_is_said_to_be_enough_is_enough():
    """Wherever it lies."""
    side = CANVAS.smallest
    for x in range(0, 60, 7):
        tokens, _ = assign([Box(x, 30 - x / 2, side, side), RIGHT], PAIR, CANVAS)
        assert tokens[0].any()


def test_some_speakers_with_and_some_without_region_are_refused():
    with pytest.raises(InputError, match="speakers: 2 of 3 speakers have a region; speaker 2 has none"):
        assign([LEFT, None, RIGHT], [*PAIR, "speaker 3"], CANVAS)


def test_regions_of_another_video_size_are_refused():
    features = SimpleNamespace(regions=torch.zeros(3, 4, 8))
    check_regions(features, SimpleNamespace(height=64, width=128))
    check_regions(SimpleNamespace(regions=None), SimpleNamespace(height=1, width=1))
    with pytest.raises(InputError, match="128x64 pixels, the reference has 64x64"):
        check_regions(features, SimpleNamespace(height=64, width=64))


def test_the_preview_colours_tokens_and_darkens_the_rest():
    persons = torch.zeros(2, 4, 8)
    persons[0, :, :3], persons[1, :, 4:] = 1, 1
    out = draw_regions(torch.full((64, 128, 3), 0.5), persons, ["1 Ann", "2 李雷 (silent)"])
    assert out.shape == (64, 128, 3) and 0 <= out.min() and out.max() <= 1
    assert out[60, 60].allclose(torch.full((3,), 0.2), atol=0.01)  # nobody
    for pixel, colour in ((out[60, 40], COLOURS[0]), (out[60, 120], COLOURS[1])):
        assert pixel.allclose(0.5 * 0.55 + 0.45 * colour, atol=0.01)
