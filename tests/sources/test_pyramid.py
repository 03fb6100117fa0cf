import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcn.sources.pyramid import Level, choose_level, find_ratio

ROUNDINGS = {'down': math.floor, 'up': math.ceil, 'to even': round}


@settings(max_examples=60, deadline=None)
@given(st.integers(300, 90_000), st.integers(300, 90_000), st.sampled_from(sorted(ROUNDINGS)))
def test_halving_again_and_again_gives_powers_of_two_however_sizes_are_rounded(h, w, rounding):
    full, size, ratio = (h, w), (h, w), 1
    while min(size) >= 20:
        size, ratio = tuple(ROUNDINGS[rounding](n / 2) for n in size), 2 * ratio
        assert find_ratio(size, full) == (ratio, ratio)


@pytest.mark.parametrize(
    'size, full, ratio',
    [
        ((100, 200), (300, 600), (3, 3)),
        ((333, 667), (1000, 2000), (3, 3)),
        ((200, 400), (300, 600), (1.5, 1.5)),
        ((40, 50), (120, 150), (3, 3)),
        ((1, 1), (256, 256), (256, 256)),
        ((100, 203), (300, 600), None),
        ((100, 97), (300, 300), None),
        ((301, 600), (300, 600), None),
        ((0, 0), (300, 600), None),
    ],
)
def test_the_ratio_is_whole_if_that_explains_the_sizes(size, full, ratio):
    assert find_ratio(size, full) == ratio


@pytest.mark.parametrize(
    'scale, chosen',
    [(1, 0), (0.6, 0), (0.5, 1), (0.3, 1), (0.25, 2), (1 / 15.9, 2), (1 / 16, 3), (1e-3, 3)],
)
def test_the_smallest_level_that_has_all_pixels_is_chosen(scale, chosen):
    levels = [Level((1600 // r, 1600 // r), (r, r), 64) for r in (1, 2, 4, 16)]
    assert choose_level(levels, scale) == chosen
