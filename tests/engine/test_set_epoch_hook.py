from types import SimpleNamespace

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, InfiniteSampler, RepeatDataset
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

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
