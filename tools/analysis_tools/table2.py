"""Test all rows of the paper's Table 2 and print the errors beside the paper's.

    python tools/analysis_tools/table2.py
    SVHN_ROOT=data/street-numbers python tools/analysis_tools/table2.py --width w25

The tool takes the coarse and the fine model of configs/dcn from their trainings in work_dirs. A row
is not tested again if its result is newer than both checkpoints and has the same config.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from mmdcn.engine.launch import build_test_runner

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import add_cfg_options, errors_as_messages
from tools.output import print_table, write_json

CONFIGS = Path(__file__).parents[2] / 'configs' / 'dcn'
RESULTS = Path('work_dirs', 'table2')
SETTINGS = (
    'model',
    'data_preprocessor',
    'test_dataloader',
    'tta_model',
    'tta_pipeline',
    'test_evaluator',
)  # settings that a result depends on


class Row(NamedTuple):
    """A row of the table: a config, changes to it, and the way it is tested.

    Attributes:
        name: Name of its result's file, without the dataset.
        config: Name of its config, without the dataset.
        weights: The trained model whose checkpoint it uses; None if ``init_cfg`` names both
            towers' checkpoints.
        options: Settings of the config to change.
        scales: Number of scales of the config's test-time augmentation to average.
        paper: The paper's error in percent, or None.
    """

    label: str
    name: str
    config: str
    weights: str | None
    options: dict
    scales: int = 1
    paper: float | None = None

    def load(self) -> Config:
        """Read the config and apply the changes to it."""
        cfg = Config.fromfile(CONFIGS / f'{self.config}_svhn.py')
        cfg.merge_from_dict(self.options)
        _, augment = cfg.tta_pipeline
        augment.transforms[0] = augment.transforms[0][: self.scales]
        return cfg


def towers(width: str) -> dict[str, str]:
    """Return the names of the trained models' configs, without the dataset."""
    if width:
        return dict(coarse=f'coarse-{width}_1xb32-10e', fine=f'fine-{width}_1xb32-5e')
    return dict(coarse='coarse_1xb128-10e', fine='fine_1xb128-10e')


def rows(width: str) -> list[Row]:
    """Return the 12 rows of Table 2, the row that §4.2.4 adds, and 3 rows beyond the paper."""
    tag, trained = f'-{width}' if width else '', towers(width)
    table = []
    soft = {'model.head.pooling': 'inverse_entropy'}  # eqs. 12-14 instead of eq. 11
    for model, label, weights, options, errors in (
        ('coarse', 'Coarse model', 'coarse', {}, (40.6, 40.0, 40.0)),
        ('fine', 'Fine model', 'fine', {}, (25.2, 23.7, 23.3)),
        ('soft-attention', 'Soft attention', 'coarse', soft, (31.4, 31.1, 30.8)),
    ):
        for scales, error in enumerate(errors, 1):
            name = f'{model}{tag}-{scales}scales' if scales > 1 else trained.get(model, model + tag)
            plural = 's' if scales > 1 else ''
            row = Row(f'{label}, {scales} scale{plural}', name, trained[weights], weights, options)
            table.append(row._replace(scales=scales, paper=error))
    surest = {'model.saliency.type': 'InverseEntropy'}
    dcn = f'dcn-k6{tag}'
    for kind, label, options, errors in (
        ('', 'DCN', {}, (20.0, 18.2, 16.6)),
        ('-inverse-entropy', 'DCN where surest', surest, (None, None, None)),
    ):
        three = {**options, 'model.selector.k': 3}  # patches at each scale
        one, two, many = (
            f'{label}, {what}'
            for what in ('6 patches, 1 scale', '6 patches, 2 scales', '9 patches, 3 scales')
        )
        table += [
            Row(one, f'dcn-k6{kind}{tag}', dcn, None, options, 1, errors[0]),
            Row(two, f'dcn-k3{kind}{tag}-2scales', dcn, None, three, 2, errors[1]),
            Row(many, f'dcn-k3{kind}{tag}-3scales', dcn, None, three, 3, errors[2]),
        ]
    every = {'model.selector.k': 10**6}  # more than there are cells
    last = Row('DCN, all patches, 3 scales', f'dcn-all{tag}-3scales', dcn, None, every, 3, 11.6)
    return [*table, last]


def checkpoint_of(config: str) -> Path:
    """Find the last checkpoint of a trained model by its config's name, without the dataset."""
    file = f'{config}_svhn.py'
    cfg = Config.fromfile(CONFIGS / file)
    path = Path(cfg.work_dir, f'epoch_{cfg.train_cfg.max_epochs}.pth')
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is missing: run `SVHN_ROOT={cfg.data_root} python tools/train.py '
            f'configs/dcn/{file}`.'
        )
    return path


def error_of(row: Row, checkpoint: Path | None, newest: float, options: dict) -> float:
    """Test a row, or read its result if it is newer than the weights and has the same config."""
    cfg = row.load()
    cfg.merge_from_dict(options)
    name = f'{row.name}_{cfg.root_name}'
    result = RESULTS / f'{name}.json'
    settings = json.loads(json.dumps({name: cfg.get(name) for name in SETTINGS}))
    done = result.is_file() and result.stat().st_mtime >= newest
    if not done or json.loads(result.read_text()).get('settings') != settings:
        cfg.work_dir = str(RESULTS / name)
        cfg.test_dataloader.collate_fn = dict(type='mmdcn.collate_any_sizes')
        metrics = build_test_runner(cfg, checkpoint and str(checkpoint), tta=row.scales > 1).test()
        write_json(result, dict(metrics, settings=settings))
    return 100 - json.loads(result.read_text())['accuracy/sequence']


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--width',
        default='',
        choices=['', 'w25'],
        help="width of the towers: '' is the paper's, w25 a quarter of it",
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    weights = {model: checkpoint_of(config) for model, config in towers(args.width).items()}
    newest = max(path.stat().st_mtime for path in weights.values())

    table, cells = rows(args.width), []
    for row in table:
        checkpoint = weights.get(row.weights) if row.weights else None
        paper = '–' if row.paper is None else f'{row.paper:.1f}'
        error = error_of(row, checkpoint, newest, args.cfg_options)
        cells.append([row.label, paper, f'{error:.1f}'])
    print_table(
        f'Sequence error on {table[0].load().root_name}, %', ['model', 'paper, SVHN', 'here'], cells
    )


if __name__ == '__main__':
    main()
