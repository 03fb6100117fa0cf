import cv2
import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdcn.registry import HOOKS
from mmdcn.visualization.patches import BOX_COLOUR

from ..conftest import ROOT
from ..tools.running import QUICK

SVHN = 'configs/dcn/dcn-k6-w25_svhn.py'
BOX = np.array([int(BOX_COLOUR[at : at + 2], 16) for at in (5, 3, 1)])  # BGR


@pytest.fixture
def runner_of(tmp_path, mnist_root, street_numbers_root):
    """Makes a runner on few images, whose hook draws every third."""

    def make(config, model=dict(), interval=3, **options):
        cfg = Config.fromfile(ROOT / config)
        root = mnist_root if 'mnist' in config else street_numbers_root
        for loader, number in (('train', 8), ('val', 7), ('test', 4)):
            cfg[f'{loader}_dataloader'].update(
                batch_size=1 if root == street_numbers_root else 4,
                num_workers=0,
                persistent_workers=False,
                collate_fn=dict(type='default_collate'),
            )
            cfg[f'{loader}_dataloader'].dataset.update(data_root=root, indices=number)
        for part in [cfg.model.get('saliency', {}).get('head', {}), *cfg.model.values()]:
            if isinstance(part, dict):
                part.pop('init_cfg', None)
        cfg.merge_from_dict(
            dict(
                model=model,
                default_hooks=dict(visualization=dict(enable=True, interval=interval)),
                train_cfg=dict(max_epochs=2),
                work_dir=str(tmp_path),
                experiment_name=tmp_path.name,
                vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
            )
        )
        cfg.visualizer.vis_backends = cfg.vis_backends
        cfg.merge_from_dict(options)
        return Runner.from_cfg(cfg)

    return make


def pictures(folder):
    """Name -> pixels (H, W, 3) of what the local backend wrote."""
    return {path.name: cv2.imread(str(path)) for path in folder.glob('*/vis_data/vis_image/*')}


def has_boxes(picture):
    return (np.abs(picture.astype(int) - BOX).max(axis=-1) < 8).any()


def test_every_third_image_of_each_epoch_goes_to_files_and_to_tensorboard(runner_of, tmp_path):
    runner_of(QUICK).train()
    found = pictures(tmp_path)
    # Batches of 4 and 3: the third is no multiple of the batch.
    assert set(found) == {f'val_{index}_{epoch}.png' for index in (0, 3, 6) for epoch in (1, 2)}
    assert all(map(has_boxes, found.values()))

    (events,) = (path.parent for path in tmp_path.glob('*/vis_data/events*'))
    board = EventAccumulator(str(events), size_guidance=dict(images=0))
    board.Reload()
    assert sorted(board.Tags()['images']) == ['val_0', 'val_3', 'val_6']
    for name in ('val_0', 'val_6'):
        shown = board.Images(name)
        assert [image.step for image in shown] == [1, 2]
        pixels = cv2.imdecode(np.frombuffer(shown[1].encoded_image_string, np.uint8), 1)
        np.testing.assert_array_equal(pixels, found[f'{name}_2.png'])


def test_images_of_unlike_sizes_bear_their_files_names(runner_of, tmp_path):
    runner_of(SVHN, interval=1).test()
    found = pictures(tmp_path)
    assert set(found) == {f'test_test_{number}_0.png' for number in (1, 2, 3, 4)}
    assert all(map(has_boxes, found.values()))


def test_of_several_views_the_first_is_drawn(runner_of, tmp_path):
    cfg = Config.fromfile(ROOT / SVHN)
    runner = runner_of(SVHN, interval=2, **{'test_dataloader.dataset.pipeline': cfg.tta_pipeline})
    merging = ConfigDict(cfg.tta_model, module=runner.model)
    runner.model = runner.build_model(merging)
    runner.test()
    assert set(pictures(tmp_path)) == {'test_test_1_0.png', 'test_test_3_0.png'}


def test_images_whose_budget_is_nought_have_no_boxes(runner_of, tmp_path):
    runner = runner_of(QUICK, dict(selector=dict(type='EntropySelector', threshold=100.0)))
    runner.test()
    found = pictures(tmp_path)
    assert set(found) == {'test_0_0.png', 'test_3_0.png'}
    assert not any(map(has_boxes, found.values()))


@pytest.mark.parametrize(
    'config',
    [
        'configs/dcn/coarse_1xb128-60e_cluttered-mnist.py',
        'configs/dcn/coarse-w25_1xb32-10e_svhn.py',
    ],
)
def test_a_classifier_without_patches_is_drawn_without_boxes(runner_of, tmp_path, config):
    runner_of(config).test()
    found = pictures(tmp_path)
    assert len(found) == 2 and not any(map(has_boxes, found.values()))


def test_nothing_is_drawn_unless_asked(runner_of, tmp_path):
    runner_of(QUICK, **{'default_hooks.visualization.enable': False}).test()
    assert not pictures(tmp_path)


def test_an_interval_of_no_images_is_refused():
    with pytest.raises(ValueError, match='counts images and must be at least 1, got 0'):
        HOOKS.build(dict(type='DCNVisualizationHook', interval=0))
