import copy
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    InfiniteSampler,
    RepeatDataset,
)
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.datasets import KFoldDataset
from torch.utils.data import DataLoader

from mmdcn.datasets import ClutteredMNIST
from mmdcn.registry import HOOKS


class Clock(BaseDataset):
    epoch = None

    def load_data_list(self):
        return [dict(hour=hour) for hour in range(12)]

    def set_epoch(self, epoch):
        self.epoch = epoch


def epoch_begins(dataset, epoch):
    HOOKS.build(dict(type='SetEpochHook')).before_train_epoch(
        SimpleNamespace(epoch=epoch, train_dataloader=SimpleNamespace(dataset=dataset))
    )


def test_the_dataset_learns_which_epoch_begins():
    clock = Clock()
    for epoch in (0, 7):
        epoch_begins(clock, epoch)
        assert clock.epoch == epoch


@pytest.mark.parametrize('resumed_at, expected', [(0, [0, 0, 0, 1, 1, 1, 2]), (4, [1, 1, 2])])
def test_iterations_make_an_epoch_once_the_dataset_was_gone_through(resumed_at, expected):
    clock, seen = Clock(), []
    loader = DataLoader(clock, batch_size=4, sampler=InfiniteSampler(clock))
    loop = object.__new__(IterBasedTrainLoop)
    hook = HOOKS.build(dict(type='SetEpochHook'))
    for iteration in range(resumed_at, 7):
        hook.before_train_iter(
            SimpleNamespace(iter=iteration, train_loop=loop, train_dataloader=loader), iteration
        )
        seen.append(clock.epoch)
    assert seen == expected


def test_datasets_inside_of_wrappers_learn_it_too():
    clocks = [Clock(), Clock(), Clock()]
    epoch_begins(ConcatDataset(clocks[:2]), 3)
    epoch_begins(RepeatDataset(clocks[2], times=2), 4)
    assert [clock.epoch for clock in clocks] == [3, 3, 4]


def test_a_dataset_that_does_not_care_is_left_alone():
    epoch_begins([1, 2, 3], 1)


WRAPPERS = {
    'plain': lambda dataset: dataset,
    'copied': copy.deepcopy,
    'a subset': lambda dataset: dataset.get_subset(range(8)),
    'a fold': lambda dataset: KFoldDataset(
        dict(
            type='mmdcn.ClutteredMNIST',
            data_root=dataset.data_root,
            split='val',
            indices=16,
            regenerate=True,
        ),
        num_splits=2,
    ),
    'joined': lambda dataset: ConcatDataset([dataset, copy.deepcopy(dataset)]),
    'repeated': lambda dataset: RepeatDataset(dataset, times=2),
    'balanced': lambda dataset: ClassBalancedDataset(dataset, oversample_thr=0.2),
}


def cluttered(mnist_root, **options):
    return ClutteredMNIST(data_root=mnist_root, split='val', indices=16, test_mode=False, **options)


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_workers_draw_anew_in_each_epoch_whatever_wraps_the_dataset(wrap, mnist_root):
    dataset = wrap(cluttered(mnist_root, regenerate=True))
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(4),
        num_workers=1,
        persistent_workers=True,
        collate_fn=lambda sample: sample,
    )
    pictures = []
    for epoch in range(3):
        epoch_begins(dataset, epoch)
        pictures.append([sample['img'].tobytes() for sample in loader])
    for index in range(4):
        assert len({drawn[index] for drawn in pictures}) == 3


@pytest.mark.parametrize('wrap', ['repeated', 'balanced'])
def test_a_wrapper_that_repeats_images_says_so_once(wrap, mnist_root, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    hook = HOOKS.build(dict(type='SetEpochHook'))
    for regenerate in (False, True):
        assert 'several times' not in caplog.text
        dataset = WRAPPERS[wrap](cluttered(mnist_root, regenerate=regenerate))
        for epoch in range(2):
            hook.before_train_epoch(
                SimpleNamespace(epoch=epoch, train_dataloader=SimpleNamespace(dataset=dataset))
            )
    logger.removeHandler(caplog.handler)
    assert caplog.text.count('shows images of ClutteredMNIST several times an epoch') == 1


def test_a_mock_of_a_dataset_has_no_end_of_wrapped_ones():
    """MMPretrain's tool that draws a schedule trains on one, with the hooks of the config."""
    dataset = MagicMock(metainfo=None)
    epoch_begins(dataset, 3)
    dataset.set_epoch.assert_called_once_with(3)
