import time

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdcn.analysis import count_multiplications, interleaved_times
from mmdcn.utils.build import build_model

from ..conftest import ROOT

# Worked by hand: outputs × kernel × channels in × channels out.
COARSE_TOWER = 47 * 47 * 49 * 1 * 12 + 23 * 23 * 9 * 12 * 24
PATCH = (12 * 12 * 9 * 1 * 24 + 12 * 12 * 9 * 24 * 24 + 2 * 6 * 6 * 9 * 24 * 24
         + 1 * 9 * 24 * 24)
FINE_TOWER = (98 * 98 * 9 * 1 * 24 + 98 * 98 * 9 * 24 * 24 + 2 * 49 * 49 * 9 * 24 * 24
              + 22 * 22 * 9 * 24 * 24)
HEAD = 10 * 10 * 16 * 24 * 96 + 96 * 10


def model_of(name):
    return build_model(Config.fromfile(
        ROOT / 'configs' / 'cluttered_mnist' / f'{name}_1xb128-60e_cluttered-mnist.py'))


@pytest.mark.parametrize('name, expected', [
    ('coarse', COARSE_TOWER + HEAD),
    ('fine', FINE_TOWER + HEAD),
    # The head runs on the coarse and on the refined map, and once back to its input.
    ('dcn-k8', COARSE_TOWER + 8 * PATCH + 3 * HEAD),
    ('dcn-k24-hint', COARSE_TOWER + 24 * PATCH + 3 * HEAD),
])
def test_counted_multiplications_are_the_hand_worked_ones(name, expected):
    assert count_multiplications(model_of(name), torch.rand(1, 1, 100, 100)) == expected


def test_the_figures_of_the_paper_protocol():
    assert (COARSE_TOWER, PATCH, FINE_TOWER, HEAD) == (2670060, 1156032, 79264224, 3687360)


def test_a_batch_costs_its_images(monkeypatch):
    layer = nn.Linear(5, 7)
    assert count_multiplications(layer, torch.rand(3, 5)) == 3 * 5 * 7


def test_things_are_timed_in_turn_after_a_warm_up():
    calls = []
    runs = {'slow': lambda: (calls.append('slow'), time.sleep(.02)),
            'fast': lambda: calls.append('fast')}
    times = interleaved_times(runs, rounds=3, warm_up=2)
    assert calls == ['slow', 'fast'] * 5
    assert {name: len(values) for name, values in times.items()} == dict(slow=3, fast=3)
    assert min(times['slow']) >= .02 > max(times['fast'])
