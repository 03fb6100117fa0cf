"""What all tests share."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import base_dataset
from mmengine.registry import init_default_scope
from torch.utils.data import _utils

ROOT = Path(__file__).parents[1]
# The workers of a loader that is collected as part of a cycle are waited for in vain, this many
# seconds each, before they are stopped.
_utils.MP_STATUS_CHECK_INTERVAL = 0.1
# Each dataset looks for garbage in all that the process holds: a quarter of a second here.
base_dataset.gc = SimpleNamespace(collect=lambda: 0)
for root in ('SVHN_ROOT', 'LARGE_IMAGES_ROOT'):
    os.environ.pop(root, None)  # configs read it; tests have images of their own

# What trains, exports, compiles, builds or starts programs; `make check` leaves it out.
INTEGRATION = (
    'apis/test_backends.py',
    'apis/test_inferencer_fuzz.py',
    'deployment/',
    'docs/',
    'engine/test_cpu.py',
    'models/test_any_backbone.py',
    'models/test_compile.py',
    'models/test_every_backbone.py',
    'sources/test_new_process.py',
    'test_configs.py',
    'test_packaging.py',
    'test_readme.py',
    'test_registry.py',
    'tools/',
    'utils/test_safe_globals.py',
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> str:
        return item.path.relative_to(ROOT / 'tests').as_posix()

    for item in items:
        if place(item).startswith(INTEGRATION):
            item.add_marker(pytest.mark.integration)
    # The longest files begin first, so that no process waits at the end for another's.
    items.sort(
        key=lambda item: (not place(item).startswith(INTEGRATION), 'tools' not in place(item))
    )


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


@pytest.fixture(scope='session')
def street_numbers_root(tmp_path_factory) -> str:
    """A few synthetic house numbers in SVHN's layout."""
    from .tools.running import run_tool  # which imports from here

    root = tmp_path_factory.mktemp('street-numbers')
    run_tool(
        'tools/dataset_converters/make_street_numbers.py',
        '--out',
        root,
        '--train',
        12,
        '--extra',
        8,
        '--test',
        4,
        '--workers',
        1,
    )
    return str(root)


@pytest.fixture(scope='session')
def large_images_root(tmp_path_factory, mnist_root) -> str:
    """TIFFs of unlike sizes, as small as five digits allow, one of each class in a split."""
    from .tools.running import run_tool  # which imports from here

    root = tmp_path_factory.mktemp('large-images')
    counts = [f'--{split}=10' for split in ('train', 'val', 'test')]
    run_tool(
        'tools/dataset_converters/make_large_images.py',
        *('--out', root, '--data-root', mnist_root, '--workers', 1),
        *('--smallest', 560, '--largest', 700, *counts),
    )
    return str(root)
