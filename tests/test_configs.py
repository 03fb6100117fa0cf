"""Finds every config by itself and runs what it describes."""
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmdcn.registry import DATASETS
from mmdcn.utils.build import build_model

from .registered import CONFIGS, components, types_in


def load(path, mnist_root):
    cfg = Config.fromfile(path)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg[loader].dataset.type == 'ClutteredMNIST':
            cfg[loader].dataset.data_root = mnist_root
        cfg[loader].dataset.indices = 4
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_gives_losses_and_predictions_on_its_own_data(path, mnist_root):
    cfg = load(path, mnist_root)
    init_default_scope(cfg.default_scope)
    model = build_model(cfg)
    model.init_weights()

    model.train()
    train = DATASETS.build(cfg.train_dataloader.dataset)
    batch = model.data_preprocessor(default_collate([train[i] for i in range(4)]), training=True)
    loss, logged = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert loss.isfinite() and 'loss' in logged
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name

    model.eval()
    for subset in ('val', 'test'):
        dataset = DATASETS.build(cfg[f'{subset}_dataloader'].dataset)
        samples = [dataset[i] for i in range(4)]
        with torch.no_grad():
            predictions = model.test_step(default_collate(samples))
            logits = model(model.data_preprocessor(default_collate(samples))['inputs'])
        for prediction, row in zip(predictions, logits):
            assert prediction.pred_label.item() == row.argmax().item()
        evaluator = Evaluator(cfg[f'{subset}_evaluator'])
        evaluator.dataset_meta = dataset.metainfo
        evaluator.process(data_samples=predictions, data_batch=samples)
        assert all(0 <= value <= 100 for value in evaluator.evaluate(4).values())


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_makes_a_runner_with_a_whole_schedule(path, mnist_root, tmp_path):
    cfg = load(path, mnist_root)
    cfg.work_dir = str(tmp_path)
    cfg.train_dataloader.batch_size = 1
    runner = Runner.from_cfg(cfg)
    runner.build_train_loop(cfg.train_cfg)
    optimizer = runner.build_optim_wrapper(cfg.optim_wrapper)
    runner.optim_wrapper = optimizer
    schedulers = runner.build_param_scheduler(cfg.param_scheduler)
    top = cfg.optim_wrapper.optimizer.lr
    rates = []
    for _ in range(len(runner.train_dataloader) * runner.max_epochs):
        rates.append(optimizer.get_lr()['lr'][0])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) == pytest.approx(top, rel=.05)
    assert rates[0] < .2 * top and optimizer.get_lr()['lr'][0] < .05 * top


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_on_train_chooses_on_val_and_tests_on_test(path):
    cfg = Config.fromfile(path)
    assert cfg.default_scope == 'mmdcn'
    assert [cfg[f'{subset}_dataloader'].dataset.split for subset in ('train', 'val', 'test')] == [
        'train', 'val', 'test']


def test_every_registered_component_runs_in_a_config():
    used = {name for path in CONFIGS for name in types_in(Config.fromfile(path))}
    assert components() and set(components()) <= used
