"""Test all rows of the paper's Table 2 and print them beside the paper's errors.

    python tools/analysis_tools/table2.py street-numbers --width w25

Takes the coarse and the fine model of configs/dcn as they were trained into work_dirs. Rows
whose result is newer than both checkpoints, and of the same config, are not tested again.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import mmengine
from mmengine.config import Config, DictAction
from rich import box
from rich.console import Console
from rich.table import Table

from mmdcn.engine.launch import build_test_runner

CONFIGS = Path(__file__).parents[2] / 'configs' / 'dcn'
RESULTS = Path('work_dirs', 'table2')
SETTINGS = (
    'model',
    'data_preprocessor',
    'test_dataloader',
    'tta_model',
    'tta_pipeline',
    'test_evaluator',
)  # that a result depends on


class Row(NamedTuple):
    """A row: its label, its config's name and the paper's error in percent, where it has one."""

    label: str
    config: str
    paper: float | None = None


def rows(data: str, width: str) -> list[Row]:
    """The 12 rows of Table 2, the one that §4.2.4 adds, all patches, and 3 beyond the paper."""
    tag = f'-{width}' if width else ''
    trained = (
        dict(coarse='_1xb32-10e', fine='_1xb32-5e')
        if width
        else dict.fromkeys(('coarse', 'fine'), '_1xb128-10e')
    )
    table = []
    for model, label, errors in (
        ('coarse', 'Coarse model', (40.6, 40.0, 40.0)),
        ('fine', 'Fine model', (25.2, 23.7, 23.3)),
        ('soft-attention', 'Soft attention', (31.4, 31.1, 30.8)),
    ):
        table += [
            Row(f'{label}, 1 scale', f'{model}{tag}{trained.get(model, "")}_{data}', errors[0]),
            Row(f'{label}, 2 scales', f'{model}{tag}-2scales_{data}', errors[1]),
            Row(f'{label}, 3 scales', f'{model}{tag}-3scales_{data}', errors[2]),
        ]
    for kind, label, errors in (
        ('', 'DCN', (20.0, 18.2, 16.6)),
        ('-inverse-entropy', 'DCN where surest', (None,) * 3),
    ):
        table += [
            Row(f'{label}, 6 patches, 1 scale', f'dcn-k6{kind}{tag}_{data}', errors[0]),
            Row(f'{label}, 6 patches, 2 scales', f'dcn-k3{kind}{tag}-2scales_{data}', errors[1]),
            Row(f'{label}, 9 patches, 3 scales', f'dcn-k3{kind}{tag}-3scales_{data}', errors[2]),
        ]
    return table + [Row('DCN, all patches, 3 scales', f'dcn-all{tag}-3scales_{data}', 11.6)]


def checkpoint_of(table: list[Row], model: str) -> Path:
    """The last checkpoint of the trained coarse or fine model."""
    name = next(row.config for row in table if row.config.startswith(model))
    epochs = Config.fromfile(CONFIGS / f'{name}.py').train_cfg.max_epochs
    path = Path('work_dirs', name, f'epoch_{epochs}.pth')
    if not path.is_file():
        raise SystemExit(f'{path} is missing: run `python tools/train.py configs/dcn/{name}.py`.')
    return path


def error_of(row: Row, checkpoint: Path | None, newest: float, options: dict) -> float:
    """Test a row, or read its result where that is newer than the weights and of this config."""
    result = RESULTS / f'{row.config}.json'
    cfg = Config.fromfile(CONFIGS / f'{row.config}.py')
    cfg.merge_from_dict(options)
    settings = json.loads(json.dumps({name: cfg.get(name) for name in SETTINGS}))
    done = result.is_file() and result.stat().st_mtime >= newest
    if not done or json.loads(result.read_text()).get('settings') != settings:
        cfg.work_dir = str(RESULTS / row.config)
        cfg.test_dataloader.collate_fn = dict(type='default_collate')
        metrics = build_test_runner(
            cfg, checkpoint and str(checkpoint), tta='tta_model' in cfg
        ).test()
        unfinished = result.with_name(f'{row.config}.unfinished.json')
        mmengine.dump(dict(metrics, settings=settings), unfinished)
        unfinished.replace(result)
    return 100 - json.loads(result.read_text())['accuracy/sequence']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data', choices=['svhn', 'street-numbers'])
    parser.add_argument('--width', default='', choices=['', 'w25'], help="'' is the paper's")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of all configs: key=value',
    )
    args = parser.parse_args()
    table = rows(args.data, args.width)
    weights = {model: checkpoint_of(table, model) for model in ('coarse', 'fine')}
    newest = max(path.stat().st_mtime for path in weights.values())
    weights['soft'] = weights['coarse']

    printed = Table('model', title=f'Sequence error on {args.data}, %', box=box.SIMPLE_HEAD)
    printed.add_column('paper, SVHN', justify='right')
    printed.add_column('here', justify='right')
    for row in table:
        checkpoint = weights.get(row.config.split('_')[0].split('-')[0])  # none for a DCN
        paper = '–' if row.paper is None else f'{row.paper:.1f}'
        error = error_of(row, checkpoint, newest, args.cfg_options)
        printed.add_row(row.label, paper, f'{error:.1f}')
    Console().print(printed)


if __name__ == '__main__':
    main()
