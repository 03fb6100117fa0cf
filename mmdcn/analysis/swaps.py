"""One trained DCN, tested with other parts in place of its own."""

import argparse
from collections.abc import Hashable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader, Subset

from mmdcn.apis import get_model
from mmdcn.engine.launch import check_weights
from mmdcn.models import DCNClassifier
from mmdcn.registry import MODELS
from mmdcn.utils.build import build_dataset

from .cost import count_multiplications


def swap_parser(description: str, out: str) -> argparse.ArgumentParser:
    """Make the parser of a tool that swaps a DCN's parts.

    Args:
        description: Of the tool.
        out: Name of the JSON file, in ``work_dirs`` where the user names no other.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config of a DCNClassifier on Cluttered MNIST')
    parser.add_argument('checkpoint', type=_checkpoint)
    parser.add_argument(
        '--subset',
        choices=['val', 'test'],
        default='val',
        help='whose images give the error (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=_json_file,
        default=Path('work_dirs', out),
        help='a JSON file; the plot goes beside it (default: %(default)s)',
    )
    return parser


def _checkpoint(path: str) -> str:
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f'The checkpoint {path} is not there.')
    return path


def _json_file(path: str) -> Path:
    if Path(path).suffix != '.json':
        raise argparse.ArgumentTypeError(f'names a .json file, got {path}.')
    return Path(path)


def load_dcn(cfg: Config, checkpoint: str | None = None) -> DCNClassifier:
    """Build a config's DCN with trained weights, in evaluation mode, on a GPU where there is one.

    Args:
        cfg: Of a ``DCNClassifier``.
        checkpoint: Weights; None takes those that the model's ``init_cfg`` names.

    Raises:
        SystemExit: The config describes another model, or its weights are not there.
    """
    kind = MODELS.get(cfg.model.type)
    if kind is None or not issubclass(kind, DCNClassifier):
        raise SystemExit(
            f'{cfg.filename} is no DCNClassifier, so it has no saliency and chooses no patches.'
        )
    try:
        check_weights(cfg, checkpoint)
        return get_model(cfg, checkpoint or True, get_device())
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error


def build_loader(cfg: Config, subset: str, indices: Sequence[int] | None = None) -> DataLoader:
    """Build the loader of a config's ``val`` or ``test`` images, of some of them where told."""
    dataset = build_dataset(cfg, subset)
    return Runner.build_dataloader(
        {
            **cfg[f'{subset}_dataloader'],
            'collate_fn': dict(type='default_collate'),
            'dataset': dataset if indices is None else Subset(dataset, indices),
        }
    )


def compare(
    model: DCNClassifier, loader: DataLoader, swaps: dict[Hashable, dict[str, nn.Module]]
) -> dict[Hashable, dict]:
    """Test a DCN with several choices of parts, every batch being read once.

    Args:
        model: Its parts are replaced.
        loader: Gives batches with labels and boxes.
        swaps: Name -> parts to put into the model, such as ``dict(selector=...)``.

    Returns:
        dict: Name -> ``error`` and ``patch_hit`` in percent, ``patches`` and ``multiplications``
        of an image, on average.
    """
    evaluators = {
        name: Evaluator([dict(type='mmpretrain.Accuracy'), dict(type='mmdcn.PatchHit')])
        for name in swaps
    }
    patches, without = dict.fromkeys(swaps, 0), {}
    for batch in track(loader, description='Comparing'):
        batch = model.data_preprocessor(batch)
        images, samples = batch['inputs'], batch['data_samples']
        if 'gt_bboxes' not in samples[0]:
            raise SystemExit(
                'The images have no gt_bboxes to tell what patches hit: put boxes '
                'into the dataset, and end its pipeline with '
                "dict(type='PackInputs', algorithm_keys=('gt_bboxes', ))."
            )
        for name, parts in swaps.items():
            for part, module in parts.items():
                setattr(model, part, module)
            model.eval()
            cost = (
                None
                if name in without
                else count_multiplications(model, images[:1], data_samples=samples[:1])
            )
            with torch.no_grad():
                samples = model.predict(images, samples)
            numbers = [len(sample.cells) for sample in samples]
            if name not in without:
                patch = count_multiplications(
                    model.fine,
                    model.normalize(
                        images.new_zeros(1, images.size(1), *model.patch_extractor.size)
                    ),
                )
                without[name] = cost - numbers[0] * patch
            patches[name] += sum(numbers)
            evaluators[name].process(data_samples=samples)
    results, number = {}, len(loader.dataset)
    for name, evaluator in evaluators.items():
        metrics = evaluator.evaluate(number)
        average = patches[name] / number
        results[name] = dict(
            error=100 - metrics['accuracy/top1'],
            patch_hit=metrics['patch_hit/mean'],
            patches=average,
            multiplications=round(without[name] + average * patch),
        )
    return results
