"""Test one trained DCN with other parts in place of its own."""

import argparse
from collections.abc import Hashable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from mmdcn.analysis import count_multiplications
from mmdcn.apis import get_model
from mmdcn.engine.launch import check_weights
from mmdcn.models import DCNClassifier
from mmdcn.registry import METRICS
from tools.command_line import existing_file, file_of

ONE_SIZE = 'The tool takes images of one size, and these differ: resize them in the pipeline.'


def swap_parser(description: str, out: str) -> argparse.ArgumentParser:
    """Build the parser of a tool that swaps a DCN's parts.

    Args:
        description: Description of the tool.
        out: Default name of the JSON file, in ``work_dirs``.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config of a DCNClassifier on Cluttered MNIST')
    parser.add_argument('checkpoint', type=existing_file)
    parser.add_argument(
        '--subset',
        choices=['val', 'test'],
        default='val',
        help='dataset split for the error (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=file_of('.json'),
        default=Path('work_dirs', out),
        help='JSON file for all figures; the plot is saved beside it (default: %(default)s)',
    )
    return parser


def load_dcn(cfg: Config, checkpoint: str | None = None) -> DCNClassifier:
    """Build a config's DCN with trained weights, in evaluation mode, on a GPU if there is one.

    Args:
        cfg: Config of a ``DCNClassifier``.
        checkpoint: File of weights; None means those that the model's ``init_cfg`` names.

    Raises:
        FileNotFoundError: The weights are missing.
        ValueError: The config describes another kind of model, there are no weights, or they are
            of another model.
    """
    if 'selector' not in cfg.model:
        raise ValueError(
            f'{cfg.filename} is of no DCN: its model has no selector, so it chooses no patches.'
        )
    check_weights(cfg, checkpoint)
    return get_model(cfg, checkpoint or True, get_device())


def compare(
    model: DCNClassifier, loader: DataLoader, swaps: dict[Hashable, dict[str, nn.Module]]
) -> dict[Hashable, dict]:
    """Test a DCN with several choices of parts, reading every batch once.

    Args:
        model: The DCN. Its parts are replaced.
        loader: Gives batches with labels and boxes.
        swaps: Name -> parts to put into the model, such as ``dict(selector=...)``.

    Returns:
        dict: Name -> ``error`` and ``patch_hit`` in percent, and the average ``patches`` and
        ``multiplications`` per image.

    Raises:
        ValueError: The images have no boxes.
    """
    evaluators = {
        name: Evaluator([METRICS.build(dict(type=kind)) for kind in ('Accuracy', 'PatchHit')])
        for name in swaps
    }
    patches, costs = dict.fromkeys(swaps, 0), {}
    for batch in track(loader, description='Comparing'):
        batch = model.data_preprocessor(batch)
        images, samples = batch['inputs'], batch['data_samples']
        if not isinstance(images, torch.Tensor):
            raise ValueError(ONE_SIZE)
        if 'gt_bboxes' not in samples[0]:
            raise ValueError(
                'The images have no gt_bboxes to tell what patches hit: put boxes '
                'into the dataset, and end its pipeline with '
                "dict(type='PackInputs', algorithm_keys=('gt_bboxes', ))."
            )
        for name, parts in swaps.items():
            for part, module in parts.items():
                setattr(model, part, module)
            model.eval()
            if name not in costs:
                costs[name] = cost_by_patches(model, images[:1], samples[:1])
            with torch.no_grad():
                samples = model.predict(images, samples)
            numbers = [len(sample.cells) for sample in samples]
            patches[name] += sum(numbers)
            evaluators[name].process(data_samples=samples)
    results, number = {}, len(loader.dataset)
    for name, evaluator in evaluators.items():
        metrics = evaluator.evaluate(number)
        average = patches[name] / number
        rest, patch = costs[name]
        results[name] = dict(
            error=100 - metrics['accuracy/top1'],
            patch_hit=metrics['patch_hit/mean'],
            patches=average,
            multiplications=round(rest + average * patch),
        )
    return results


def cost_by_patches(
    model: DCNClassifier, image: torch.Tensor, samples: Sequence[DataSample]
) -> tuple[int, int]:
    """Count the multiplications of one image without any patch, and those of each patch."""
    selector, counts = model.selector, []
    for patches in (1, 2):
        model.selector = selector.with_budget(patches)
        counts.append(count_multiplications(model, image, data_samples=samples))
    model.selector = selector
    return 2 * counts[0] - counts[1], counts[1] - counts[0]
