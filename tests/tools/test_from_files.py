"""Training, testing and predicting from files of which parts are read."""

import json
import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmdcn.utils.checkpoint import read_checkpoint

from ..conftest import ROOT
from .running import environment, free_port, logged, run_tool

CONFIG = """
_base_ = {base!r}
scale = 1 / 4
load = dict(type='LoadOverview', scale=scale)
pack = dict(type='PackInputs')
model = dict(
    type='DCNClassifier',
    coarse_scale=scale,
    coarse=dict(type='ClutteredMNISTCoarse', in_channels=3),
    fine=dict(type='ClutteredMNISTFine', in_channels=3),
    head=dict(type='GlobalMaxPoolHead', num_classes=2, in_channels=24),
    selector=dict(type='TopKSelector', k=3),
    grid=dict(type='PatchGrid', size=14, stride=16, offset=15),
)
data_preprocessor = dict(type='LateNormalization', mean=[127.] * 3, std=[60.] * 3, to_rgb=True)
dataset = dict(type='CustomDataset', data_root={root!r}, extensions=('.tif', '.npy'))
train_dataloader = dict(
    batch_size=4, num_workers=2, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **dataset, pipeline=[load, dict(type='RandomTurn'), dict(type='ColorJitter',
            brightness=0.2, backend='cv2'), pack]))
val_dataloader = dict(
    batch_size=3, num_workers=1, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, pipeline=[load, pack]))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
tta_model = dict(type='AverageClsScoreTTA')
tta_pipeline = [load, dict(type='TestTimeAug', transforms=[
    [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)], [pack]])]
custom_hooks = [dict(type='DCNVisualizationHook', enable=True, interval=4)]
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Photos of unlike sizes in two folders, tiled TIFFs and an array, and a config."""
    folder = tmp_path_factory.mktemp('files')
    rng = np.random.default_rng(0)
    for number in range(8):
        size = (400, 480) if number < 3 else tuple(rng.integers(300, 500, 2))
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        place = folder / 'photos' / 'ab'[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        if number == 7:
            np.save(place / '7.npy', pixels)
        else:
            tifffile.imwrite(place / f'{number}.tif', pixels, tile=(64, 64), photometric='rgb')
    config = folder / 'config.py'
    base = str(ROOT / 'configs' / '_base_' / 'default_runtime.py')
    config.write_text(CONFIG.format(base=base, root=str(folder / 'photos')))
    return SimpleNamespace(photos=folder / 'photos', config=config)


@pytest.fixture(scope='module')
def trained(files, tmp_path_factory):
    work = tmp_path_factory.mktemp('work')
    run_tool('tools/train.py', files.config, '--work-dir', work)
    return work


def test_training_reads_overviews_in_workers_and_patches_in_the_model(trained):
    losses = list(logged(trained, 'loss').values())
    assert len(losses) == 4 and np.isfinite(losses).all()
    assert list(trained.glob('*/vis_data/vis_image/val_*.png'))


@pytest.mark.parametrize('options', [[], ['--tta']], ids=['plain', 'views'])
def test_testing_takes_the_views_of_the_file(files, trained, tmp_path, options):
    out = tmp_path / 'metrics.json'
    tested = (files.config, trained / 'epoch_2.pth', '--work-dir', tmp_path)
    run_tool('tools/test.py', *tested, '--out', out, '--out-item', 'metrics', *options)
    assert 0 <= json.loads(out.read_text())['accuracy/top1'] <= 100


def test_two_processes_train_from_files(files, tmp_path):
    done = subprocess.run(
        ['bash', 'tools/dist_train.sh', str(files.config), '2', '--work-dir', str(tmp_path)]
        + ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2'],
        cwd=ROOT,
        env=environment(PORT=free_port(), MASTER_PORT=free_port(), OMP_NUM_THREADS='1'),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    assert read_checkpoint(tmp_path / 'epoch_1.pth').weights
    assert len(logged(tmp_path, 'loss')) == 2  # of 8 photos, 2 in each process


def test_predictions_come_with_boxes_of_the_file_and_its_pixels(files, trained, tmp_path):
    outputs = {name: tmp_path / name for name in ('geojson', 'patches', 'pictures')}
    photos = files.photos / 'b'  # with the array
    run_tool(
        *('tools/infer.py', photos, trained / 'epoch_2.pth', '--out', tmp_path / 'out.json'),
        *('--batch-size', 2, '--geojson', outputs['geojson']),
        *('--save-patches', outputs['patches'], '--show-dir', outputs['pictures']),
    )
    results = json.loads((tmp_path / 'out.json').read_text())
    assert [result['img_path'] for result in results] == sorted(map(str, photos.iterdir()))
    for result in results:
        path = result['img_path']
        pixels = np.load(path)[..., ::-1] if path.endswith('npy') else tifffile.imread(path)
        name = os.path.basename(path).split('.')[0]
        (found,) = outputs['geojson'].glob(f'{name}.geojson')
        collection = json.loads(found.read_text())
        assert collection['properties']['height'] == pixels.shape[0]
        for rank, box in enumerate(result['patch_bboxes'], start=1):
            x1, y1, x2, y2 = map(int, box)
            ring = collection['features'][rank - 1]['geometry']['coordinates'][0]
            assert ring[0] == [x1, y1] and ring[2] == [x2, y2]
            cut = np.asarray(Image.open(outputs['patches'] / name / f'{rank}.png'))
            inside = pixels[max(y1, 0) : y2, max(x1, 0) : x2]
            assert np.array_equal(cut[: inside.shape[0], : inside.shape[1]], inside)
        assert (outputs['pictures'] / f'{name}.png').is_file()


def test_tools_that_take_whole_images_say_so(files, trained, tmp_path):
    for tool, *options in (
        ('deploy/export_onnx.py', trained / 'epoch_2.pth', '--out', 'x.onnx'),
        ('analysis_tools/get_cost.py',),
    ):
        printed = run_tool(f'tools/{tool}', files.config, *options, folder=tmp_path, code=1)
        assert 'loads overviews of files' in printed
    assert not list(tmp_path.iterdir())
