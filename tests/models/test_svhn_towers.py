import pytest
import torch

from mmdcn.analysis import count_multiplications
from mmdcn.models import SVHNCoarse, SVHNFine

from .test_grid import probe

# Worked by hand at width 1: (filters, kernel, channels in, outputs of a 54×110 window)
COARSE = [
    (24, 25, 1, 25 * 53),
    (48, 25, 24, 11 * 25),
    (128, 25, 48, 4 * 11),
    (192, 20, 128, 4),
    (192, 4, 192, 1),
    (1024, 1, 192, 1),
    (1024, 1, 1024, 1),
]
FINE = [
    (48, 25, 1, 54 * 110),
    (64, 25, 48, 27 * 55),
    (128, 25, 64, 27 * 55),
    (160, 25, 128, 13 * 27),
    (192, 25, 160, 13 * 27),
    *[(192, 9, 192, 6 * 13)] * 3,
    (1024, 1, 192, 6 * 13),
    *[(1024, 1, 1024, 6 * 13)] * 2,
]


@pytest.mark.parametrize('tower, layers', [(SVHNCoarse, COARSE), (SVHNFine, FINE)])
def test_weights_and_multiplications_are_the_hand_worked_ones(tower, layers):
    tower = tower()
    # A norm in place of each bias: scale and shift.
    weights = sum(f * k * c + 2 * f for f, k, c, _ in layers)
    assert sum(weight.numel() for weight in tower.parameters()) == weights
    multiplications = sum(f * k * c * outputs for f, k, c, outputs in layers)
    assert count_multiplications(tower, torch.rand(1, 1, 54, 110)) == multiplications


def test_a_54_by_110_window_is_just_one_coarse_cell():
    tower = SVHNCoarse(width=0.1).eval()
    assert tower(torch.rand(1, 1, 54, 110))[-1].shape[-2:] == (1, 1)
    assert tower(torch.rand(1, 1, 54 + 8, 110 + 3 * 16))[-1].shape[-2:] == (2, 4)
    assert tower(torch.rand(1, 1, 60, 124))[-1].shape[-2:] == (1, 1)


def positive(tower):
    """Weights of one sign let every pixel that can matter matter."""
    for name, weight in tower.named_parameters():
        if 'conv' in name:
            torch.nn.init.constant_(weight, 0.01)
    return tower.eval()


def test_a_coarse_cell_sees_53_by_109_pixels_8_by_16_apart():
    tower = positive(SVHNCoarse(width=0.05))
    for cell in ((0, 0), (1, 2), (3, 1)):
        first, last, _ = probe(lambda x: tower(x)[-1], 200, cell)
        assert first == (8 * cell[0], 16 * cell[1])
        assert last == (8 * cell[0] + 52, 16 * cell[1] + 108)
    assert tower.geometry == ((53, 109), (8, 16), (0, 0))


def test_a_fine_cell_sees_108_pixels_8_apart():
    tower = SVHNFine(width=0.05)
    assert tower.geometry.size == (108, 108) and tower.geometry.stride == (8, 8)
    assert tower.eval()(torch.rand(2, 1, 54, 110))[-1].shape == (2, 51, 6, 13)


def test_width_multiplies_all_filters():
    assert SVHNFine(width=0.25).out_channels == SVHNCoarse(width=0.25).out_channels == 256
    assert SVHNFine(width=0.25).layers[0].out_channels == 12


def test_dropout_is_a_half_after_connected_layers_and_a_fifth_elsewhere():
    for tower, convolutions, connected in ((SVHNCoarse(), 5, 2), (SVHNFine(), 8, 3)):
        rates = [part.p for part in tower.modules() if isinstance(part, torch.nn.Dropout)]
        assert rates == [0.2] * convolutions + [0.5] * connected


def test_a_width_that_leaves_nothing_is_named():
    with pytest.raises(
        ValueError,
        match=r'SVHNCoarse\(width=...\) multiplies the filters and must '
        'be positive, got 0',
    ):
        SVHNCoarse(width=0)


def test_an_image_smaller_than_a_cell_is_named():
    with pytest.raises(
        ValueError, match='SVHNCoarse needs an input of at least 53×109 pixels, got 54×100'
    ):
        SVHNCoarse(width=0.1)(torch.rand(1, 1, 54, 100))
