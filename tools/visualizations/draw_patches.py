"""Draw where a trained DCN looks.

    python tools/visualizations/draw_patches.py CONFIG [CHECKPOINT] --out patches.png
    python tools/visualizations/draw_patches.py CONFIG --tta --num 3 --out scales.png

This draws the left half of the paper's Figure 3, and its Figure 6. With --tta, each image has a row
with one panel per scale of the config's tta_pipeline.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.structures import DataSample
from rich.progress import track
from torch.utils.data import Dataset

from mmdcn.models import DCNClassifier
from mmdcn.registry import MODELS
from mmdcn.utils.build import build_dataset, read_config
from mmdcn.visualization.patches import Title, describe, draw_patches, label_of
from mmdcn.visualization.pictures import save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import add_model_arguments, at_least, errors_as_messages, picture
from tools.reproduction.swaps import load_dcn


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.add_argument(
        '--out', type=picture, required=True, help='picture to write (.png, .pdf, .svg)'
    )
    parser.add_argument(
        '--num', type=at_least(1), default=8, help='number of images (default: %(default)s)'
    )
    parser.add_argument(
        '--subset',
        choices=['train', 'val', 'test'],
        default='test',
        help='dataset split of the images (default: %(default)s)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="draw all views of the config's tta_pipeline, such as scales",
    )
    return parser.parse_args(argv)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    if args.tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ValueError(f'{args.config} lacks tta_model and tta_pipeline, which --tta needs.')
        cfg[f'{args.subset}_dataloader'].dataset.pipeline = cfg.tta_pipeline
    model = load_dcn(cfg, args.checkpoint)
    dataset = build_dataset(cfg, args.subset)
    number = min(args.num, len(dataset))
    looked = [
        look(model, cfg, dataset, index, args.tta)
        for index in track(range(number), description='Looking')
    ]
    images, samples, titles = (sum(parts, []) for parts in zip(*looked, strict=True))
    columns = dict(columns=len(looked[0][0])) if args.tta else {}
    save(draw_patches(images, samples, model.grid, titles, **columns), args.out)
    numbers = sorted({len(sample.cells) for sample in samples})
    patches = f'{numbers[0]} to {numbers[-1]}' if len(numbers) > 1 else numbers[0]
    print(
        f'{args.out}: {number} images of the {args.subset} set, boxes are the {patches} patches'
        f'{" at each scale" if args.tta else ""}, heat is the saliency.'
    )


@torch.no_grad()
def look(
    model: DCNClassifier, cfg: Config, dataset: Dataset, index: int, tta: bool
) -> tuple[list[torch.Tensor], list[DataSample], list[Title]]:
    """Return the views of an image, the predictions for them, and their titles.

    Images are processed one by one, because they may differ in size.
    """
    batch = default_collate([dataset[index]])
    classes = model._dataset_meta.get('classes')
    if not tta:
        (sample,) = model.test_step(batch)
        return [batch['inputs'][0]], [sample], [describe(sample, classes)]
    views = [
        model.test_step(dict(inputs=inputs, data_samples=samples))[0]
        for inputs, samples in zip(batch['inputs'], batch['data_samples'], strict=True)
    ]
    (merged,) = MODELS.build(dict(cfg.tta_model, module=model)).merge_preds([views])
    titles = [
        Title(
            f'×{sample.scale_factor[0]:.2f}: {label_of(sample, "pred", classes)}',
            describe(sample).right,
        )
        for sample in views
    ]
    whole = describe(merged, classes)
    titles[0] = Title(f'{whole.text}\n{titles[0].text}', whole.right)
    return [inputs[0] for inputs in batch['inputs']], views, titles


if __name__ == '__main__':
    main()
