"""Picture sizes, resize and crop, and what a reference picture may not be."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.buckets import BUCKETS, check_picture, pick_bucket, resize_crop, resize_crop_mask
from infinitetalk.config import check_size
from infinitetalk.errors import InputError


def test_the_tables_hold_the_reference_sizes_and_every_size_fits_the_token_grid():
    assert {name: len(table) for name, table in BUCKETS.items()} == {"480": 15, "720": 21}
    for name, area in (("480", 627**2), ("720", 960**2)):
        assert list(BUCKETS[name]) == sorted(BUCKETS[name])
        for ratio, (height, width) in BUCKETS[name].items():
            check_size(width, height)
            assert height % 64 == width % 64 == 0
            assert 0.93 * area < height * width < 1.07 * area
            # the printed ratio is not always the true one, but always near
            assert abs(height / width - ratio) / ratio < 0.016


@pytest.mark.parametrize(
    ("source", "resolution", "target"),
    [
        ((512, 512), "480", (640, 640)),
        ((1080, 1920), "480", (448, 896)),
        ((1920, 1080), "480", (832, 448)),
        ((1080, 1920), "720", (704, 1280)),
        ((100, 10_000), "480", (320, 1216)),
        ((10_000, 100), "720", (1920, 512)),
        # the key decides, not the size: 1.93 lies exactly between 1.86 and 2.00, the smaller wins
        ((193, 100), "480", (832, 448)),
    ],
)
def test_the_nearest_printed_ratio_wins(source, resolution, target):
    assert pick_bucket(*source, resolution) == target


def test_an_unknown_resolution_is_refused():
    with pytest.raises(InputError, match="'1080' is unknown.\nUse one of 480, 720"):
        pick_bucket(512, 512, "1080")


def test_the_size_already_there_is_left_alone():
    picture = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8)
    assert torch.equal(resize_crop(picture, 48, 64), picture)
    mask = torch.randint(0, 2, (2, 48, 64), dtype=torch.uint8)
    assert torch.equal(resize_crop_mask(mask, 48, 64), mask)


def test_the_centre_is_kept_and_half_offsets_round_to_even():
    row = torch.arange(0, 250, 10, dtype=torch.uint8)  # 25 columns
    picture = row[None, :, None].expand(20, 25, 3).contiguous()
    # 5 columns too many: offset 2.5 -> 2; 7: offset 3.5 -> 4
    assert resize_crop(picture, 20, 20)[0, :, 0].tolist() == row[2:22].tolist()
    assert resize_crop(picture, 20, 18)[0, :, 0].tolist() == row[4:22].tolist()
    assert resize_crop_mask(picture[None, :, :, 0], 20, 18)[0, 0].tolist() == row[4:22].tolist()


def test_shrinking_averages_pictures_but_keeps_mask_values():
    stripes = torch.zeros(64, 64, 3, dtype=torch.uint8)
    stripes[:, ::2] = 255
    small = resize_crop(stripes, 16, 16)
    assert small.shape == (16, 16, 3) and small.dtype == torch.uint8
    assert (small.int() - 127).abs().max() < 40
    mask = (stripes[:, :, 0] // 255)[None]
    assert set(resize_crop_mask(mask, 16, 16).unique().tolist()) <= {0, 1}


def test_a_picture_that_is_not_8_bit_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="uint8"):
        resize_crop(torch.rand(64, 64, 3), 32, 32)


@pytest.mark.parametrize(
    ("shape", "problem", "remedy"),
    [
        ((1, 1, 1, 3), "1x1 pixels is too small", "64x64"),
        ((1, 63, 500, 3), "500x63 pixels is too small", "64x64"),
        ((1, 64, 30_000, 3), "30000x64 pixels is too large", "16384 pixels"),
        ((1, 64, 64, 4), "4 channels", "Flatten the transparency"),
        ((1, 64, 64, 1), "1 channels", "Convert the grey picture to RGB"),
        ((1, 64, 64, 2), "2 channels", "RGB"),
        ((0, 64, 64, 3), "no picture", "at least one"),
        ((64, 64, 3), "3 dimensions", "IMAGE output"),
    ],
)
def test_unusable_pictures_are_refused_with_their_numbers_and_a_remedy(shape, problem, remedy):
    with pytest.raises(InputError) as caught:
        check_picture(torch.zeros(shape))
    assert problem in caught.value.problem and remedy in caught.value.remedy


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_picture_with_values_that_are_not_numbers_is_refused(bad):
    picture = torch.zeros(1, 64, 64, 3)
    picture[0, 5, 6, 1] = bad
    with pytest.raises(InputError, match="not numbers"):
        check_picture(picture)


def test_usable_pictures_pass():
    assert check_picture(torch.rand(2, 64, 64, 3)) is None
    assert check_picture(torch.rand(1, 64, 2048, 3, dtype=torch.float16)) is None
