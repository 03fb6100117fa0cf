"""Finds every config by itself and runs what it describes, as small as that shows it."""

import copy
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, save_checkpoint

from mmdcn.datasets import collate_any_sizes
from mmdcn.models import DCNClassifier
from mmdcn.models.heads.global_pool_head import GlobalPoolHead
from mmdcn.registry import DATASETS
from mmdcn.utils.build import build_model
from mmdcn.utils.checkpoint import Checkpoint, config_of

from .conftest import ROOT
from .registered import CONFIGS, components, types_in

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SMALL_CANVAS = 192  # pixels
SMALL_WIDTH = 1 / 16  # of SVHN's towers
IMAGES = 2  # of each subset
READ = {path: Config.fromfile(path) for path in CONFIGS}


def distinct(key: Callable[[Config], Hashable]) -> list[Path]:
    """Find one config of those that have the same key."""
    return list({key(cfg): path for path, cfg in reversed(READ.items())}.values())


def schedule(cfg: Config) -> Hashable:
    return repr((cfg.train_cfg, cfg.optim_wrapper, cfg.param_scheduler))


def parts(cfg: Config) -> Hashable:
    return frozenset(types_in(cfg.model))


def reads_files(cfg: Config) -> bool:
    return cfg.train_dataloader.dataset.type == 'CustomDataset'


@pytest.fixture(scope='session')
def data_roots(mnist_root, street_numbers_root, large_images_root):
    return dict(
        ClutteredMNIST=mnist_root,
        MegapixelMNIST=mnist_root,
        SVHNFull=street_numbers_root,
        CustomDataset=large_images_root,
    )


@pytest.fixture(scope='session')
def checkpoints(tmp_path_factory):
    """Untrained weights for the checkpoints that configs name; path -> path of a real file."""
    folder, made = tmp_path_factory.mktemp('checkpoints'), {}

    def make(path: str) -> str:
        if path not in made:
            work_dir = Path(path).parent
            (cfg,) = [cfg for cfg in READ.values() if cfg.get('work_dir') == str(work_dir)]
            assert Path(path).name == f'epoch_{cfg.train_cfg.max_epochs}.pth'
            cfg = copy.deepcopy(cfg)
            slim(cfg.model)
            made[path] = str(folder / f'{work_dir.name}.pth')
            save_checkpoint(dict(state_dict=build_model(cfg).state_dict()), made[path])
        return made[path]

    return make


def slim(part):
    """Narrow SVHN's towers and the heads that read them, wherever they are inside of a config."""
    for value in [part, *part.values()]:
        if isinstance(value, dict) and 'width' in value:
            value.width = SMALL_WIDTH
        if isinstance(value, dict) and value.get('in_channels') in (256, 1024):
            value.in_channels = int(1024 * SMALL_WIDTH)
        if isinstance(value, dict) and value is not part:
            slim(value)


def redirect(part, checkpoints):
    """Point each ``init_cfg`` inside of a config to a file that is there."""
    for key, value in part.items():
        if key == 'init_cfg' and value and value.get('type') == 'Pretrained':
            value.checkpoint = checkpoints(value.checkpoint)
        elif isinstance(value, dict):
            redirect(value, checkpoints)


def load(path, data_roots, checkpoints) -> Config:
    cfg = copy.deepcopy(READ[path])
    for loader in LOADERS:
        dataset = cfg[loader].dataset
        dataset.data_root = data_roots[dataset.type]
        dataset.indices = IMAGES
        if dataset.type == 'SVHNFull':
            dataset.val_size = IMAGES
        if dataset.type == 'MegapixelMNIST':
            dataset.canvas_size = SMALL_CANVAS
    slim(cfg.model)
    redirect(cfg.model, checkpoints)
    return cfg


def batches(cfg, subset):
    """All samples of a subset in one batch, or in batches of one where sizes are unlike."""
    dataset = DATASETS.build(cfg[f'{subset}_dataloader'].dataset)
    size = min(cfg[f'{subset}_dataloader'].batch_size, IMAGES)
    samples = [dataset[index] for index in range(IMAGES)]
    return dataset, [samples[start : start + size] for start in range(0, IMAGES, size)]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_gives_losses_and_predictions_on_its_own_data(path, data_roots, checkpoints):
    cfg = load(path, data_roots, checkpoints)
    init_default_scope(cfg.default_scope)
    model = build_model(cfg)
    model.init_weights()

    model.train()
    _, (samples,) = batches(cfg, 'train')
    batch = model.data_preprocessor(collate_any_sizes(samples), training=True)
    loss, logged = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert loss.isfinite() and 'loss' in logged
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None and weight.grad.isfinite().all(), name

    model.eval()
    for subset in ('val', 'test'):
        dataset, groups = batches(cfg, subset)
        evaluator = Evaluator(cfg[f'{subset}_evaluator'])
        evaluator.dataset_meta = dataset.metainfo
        for samples in groups:
            with torch.no_grad():
                batch = model.data_preprocessor(collate_any_sizes(samples))
                assert model(**batch).isfinite().all()
                evaluator.process(data_samples=model.test_step(collate_any_sizes(samples)))
        assert all(0 <= value <= 100 for value in evaluator.evaluate(IMAGES).values())


@pytest.mark.parametrize(
    'path',
    # Reading windows from files waits for where they are.
    [path for path in distinct(parts) if not reads_files(READ[path])],
    ids=lambda path: path.stem,
)
def test_a_config_runs_on_a_device_that_is_not_the_cpu(path, data_roots, checkpoints, monkeypatch):
    """On ``meta``, which as a GPU refuses tensors of the CPU, and has no values to wait for."""
    waited, tolist = [], torch.Tensor.tolist

    def ones(values):
        if not values.is_meta:
            return tolist(values)
        waited.append(values)
        return [1] * len(values)

    monkeypatch.setattr(torch.Tensor, 'tolist', ones)
    # Torch has no autocast there, and the first batch's labels and saliency are checked.
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: nullcontext())
    monkeypatch.setattr(GlobalPoolHead, '_check_labels', lambda *args: None)
    monkeypatch.setattr(DCNClassifier, '_say_if_constant', lambda *args: None)
    cfg = load(path, data_roots, checkpoints)
    init_default_scope(cfg.default_scope)
    model = build_model(cfg).to('meta')
    for subset, mode in (('train', 'loss'), ('test', 'predict')):
        _, (samples, *_) = batches(cfg, subset)
        model.train(mode == 'loss')
        batch = model.data_preprocessor(collate_any_sizes(samples), training=mode == 'loss')
        assert batch['inputs'].is_meta
        found = model(**batch, mode=mode)
        if mode == 'loss':
            sum(value for name, value in found.items() if 'loss' in name).backward()
            assert all(weight.grad.is_meta for weight in model.parameters() if weight.requires_grad)
        # A budget that depends on the image is the one thing that has to be known.
        selector = getattr(model, 'selector', None)
        adaptive = getattr(selector, 'adaptive', False) and (
            mode == 'predict' or selector.adapts_in_training
        )
        assert [values.shape for values in waited] == [(len(batch['inputs']),)] * adaptive
        waited.clear()


@pytest.mark.parametrize(
    'path',
    [
        path
        for path in distinct(lambda cfg: (parts(cfg), 'tta_model' in cfg))
        if 'tta_model' in READ[path]
    ],
    ids=lambda path: path.stem,
)
def test_a_config_averages_over_its_views_of_an_image(path, data_roots, checkpoints):
    cfg = load(path, data_roots, checkpoints)
    init_default_scope(cfg.default_scope)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    model = build_model(cfg)
    dataset, groups = batches(cfg, 'test')
    evaluator = Evaluator(cfg.test_evaluator)
    for samples in groups:
        with torch.no_grad():
            views = collate_any_sizes(samples)
            evaluator.process(data_samples=model.test_step(views))
        assert len(views['inputs']) == 3
    assert all(0 <= value <= 100 for value in evaluator.evaluate(IMAGES).values())


@pytest.mark.parametrize('path', distinct(schedule), ids=lambda path: path.stem)
def test_a_config_makes_a_runner_with_a_whole_schedule(
    path, data_roots, checkpoints, tmp_path, monkeypatch
):
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)  # asks compilers; slow
    cfg = load(path, data_roots, checkpoints)
    cfg.work_dir = str(tmp_path)
    cfg.train_dataloader.batch_size = 1
    cfg.train_dataloader.dataset.indices = 8  # iterations an epoch
    runner = Runner.from_cfg(cfg)
    runner.build_train_loop(cfg.train_cfg)
    optimizer = runner.build_optim_wrapper(cfg.optim_wrapper)
    runner.optim_wrapper = optimizer
    schedulers = runner.build_param_scheduler(cfg.param_scheduler)
    top = cfg.optim_wrapper.optimizer.lr
    rates = []
    for iteration in range(len(runner.train_dataloader) * runner.max_epochs):
        rates.append(max(optimizer.get_lr()['lr']))  # parts may have lower ones
        optimizer.step()
        for scheduler in schedulers:
            ends_epoch = (iteration + 1) % len(runner.train_dataloader) == 0
            if not scheduler.by_epoch or ends_epoch:
                scheduler.step()
    assert max(rates) == pytest.approx(top, rel=0.05)
    assert rates[0] < 0.2 * top and max(optimizer.get_lr()['lr']) < 0.05 * top


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_on_train_chooses_on_val_and_tests_on_test(path):
    cfg = READ[path]
    assert cfg.default_scope == 'mmdcn'
    train, val, test = (cfg[loader].dataset for loader in LOADERS)
    if reads_files(cfg):
        assert [each.data_prefix for each in (train, val, test)] == ['train', 'val', 'test']
    elif 'MNIST' in train.type:
        assert (train.split, val.split, test.split) == ('train', 'val', 'test')
    else:
        assert (train.part, val.part, test.get('part', 'all')) == ('train', 'val', 'all')
        assert train.split == val.split == ['train', 'extra'] and test.split == 'test'
    assert test.get('test_mode', False) or train.type != 'SVHNFull'


@pytest.mark.parametrize(
    'root, name, val_size',
    [
        (None, 'svhn', 5000),
        ('data/street-numbers', 'street-numbers', 1000),
        ('/a/own/', 'own', 5000),
    ],
)
def test_svhn_and_its_twin_share_configs_and_no_runs(monkeypatch, root, name, val_size):
    monkeypatch.delenv('SVHN_ROOT', raising=False)
    if root:
        monkeypatch.setenv('SVHN_ROOT', root)
    paths = [path for path in CONFIGS if path.stem.endswith('_svhn')]
    assert len(paths) == 9
    for path in paths:
        cfg = Config.fromfile(path)
        assert cfg.work_dir == f'work_dirs/{path.stem.removesuffix("svhn")}{name}'
        datasets = [cfg[loader].dataset for loader in LOADERS]
        assert {dataset.data_root for dataset in datasets} == {root or 'data/svhn'}
        assert [dataset.get('val_size') for dataset in datasets] == [val_size, val_size, None]
        assert all(
            Path(named).parent.name.endswith(f'_{name}') for named in named_weights(cfg.model)
        )
        # A checkpoint's meta holds what the environment said when it was trained.
        monkeypatch.setenv('SVHN_ROOT', 'data/later')
        kept = config_of(Checkpoint(Path('epoch_1.pth'), {}, dict(cfg=cfg.dump())))
        assert kept.to_dict() == cfg.to_dict()
        monkeypatch.setenv('SVHN_ROOT', root) if root else monkeypatch.delenv('SVHN_ROOT')


def named_weights(part):
    """The checkpoints that ``init_cfg`` names inside of a config."""
    for key, value in part.items():
        if key == 'init_cfg' and value:
            yield value.checkpoint
        elif isinstance(value, dict):
            yield from named_weights(value)


def test_every_registered_component_runs_in_a_config():
    used = {name for cfg in READ.values() for name in types_in(cfg)}
    by_amp = {'CPUAmpOptimWrapper'}  # tools/train.py --amp, in tests/tools/test_train.py
    # For heads and files of one's own, in tests/models and tests/datasets
    adapters = {'MapHead', 'RandomFlip', 'RandomTurn'}
    defaults = {'UnpaddedDataPreprocessor', 'collate_any_sizes'}  # of DCNClassifier and train.py
    assert components() and set(components()) <= used | by_amp | adapters | defaults


def test_configs_lie_where_their_readme_is():
    for path in CONFIGS:
        assert path.parent.parent == ROOT / 'configs' and (path.parent / 'README.md').is_file()
