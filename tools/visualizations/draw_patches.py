"""Draw where a trained DCN looks.

    python tools/visualizations/draw_patches.py CONFIG CHECKPOINT --out patches.png
"""
import argparse
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import default_collate
from mmengine.runner import load_checkpoint

from mmdcn.models import DCNClassifier
from mmdcn.utils.build import build_dataset, build_model
from mmdcn.visualization.patches import draw_patches


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of a DCNClassifier')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', type=Path, required=True, help='picture (.png, .pdf, .svg)')
    parser.add_argument('--num', type=int, default=8, help='images (default: %(default)s)')
    parser.add_argument('--subset', choices=['train', 'val', 'test'], default='test',
                        help='whose first images (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={},
                        help='override settings of the config: key=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    model = build_model(cfg)
    if not isinstance(model, DCNClassifier):
        raise SystemExit(f'{args.config} is no DCNClassifier, so it has no patches to draw.')
    load_checkpoint(model, args.checkpoint, map_location='cpu')
    dataset = build_dataset(cfg, args.subset)
    batch = default_collate([dataset[index] for index in range(min(args.num, len(dataset)))])
    with torch.no_grad():
        samples = model.test_step(batch)
    figure = draw_patches(batch['inputs'], samples, model.patch_extractor)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=150)
    numbers = sorted({len(sample.cells) for sample in samples})
    number = f'{numbers[0]} to {numbers[-1]}' if len(numbers) > 1 else numbers[0]
    print(f'{args.out}: {len(samples)} images of the {args.subset} set, boxes are the '
          f'{number} patches, heat is the saliency.')


if __name__ == '__main__':
    main()
