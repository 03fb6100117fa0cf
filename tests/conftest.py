"""What all tests share."""
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def seeded_and_scoped():
    torch.manual_seed(0)
    init_default_scope('mmdcn')


@pytest.fixture(scope='session')
def mnist_root() -> str:
    root = ROOT / 'data' / 'mnist'
    if not (root / 't10k-labels-idx1-ubyte').is_file():
        pytest.fail(f'The tests need MNIST in {root}: run `make data`.')
    return str(root)
