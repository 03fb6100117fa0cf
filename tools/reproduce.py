"""Make a table or figure of the paper again, from training to the file that holds its figures.

    python tools/reproduce.py table1 --seeds 0 1 2
    python tools/reproduce.py table1 --epochs 12 --seeds 0 --amp    # where there is no GPU
    python tools/reproduce.py table2 --width w25
    python tools/reproduce.py table2 --dataset svhn

Trains what is missing into work_dirs/reproduce, goes on with what was cut off, leaves what is done
alone and writes results/<name>.json with every figure and where it comes from. Hyper-parameters
were chosen on `val`; the weights of the last epoch are tested once. Afterwards
tools/dev_tools/fill_results.py puts the figures into the pages.

--quick takes a few images only, writes below work_dirs/reproduce-quick and shows that all steps
work together.
"""

import argparse
import fcntl
import json
import os
import re
import runpy
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmdcn.analysis.results import CLUTTERS, section
from mmdcn.utils.processes import ScriptError, run_script, stopping_scripts
from mmdcn.utils.scalars import read_scalars
from mmdcn.utils.table import names_of

ROOT = Path(__file__).resolve().parents[1]
CLUTTERED = ROOT / 'configs' / 'dcn'
MEGAPIXEL = ROOT / 'configs' / 'dcn'
SVHN = ROOT / 'configs' / 'dcn'
TOOLS = ROOT / 'tools'
PACKAGES = ('mmdcn', 'torch', 'mmengine', 'mmpretrain', 'mmcv', 'mmcv-lite', 'numpy')

PAPER = 'Almahairi et al., Dynamic Capacity Networks, ICML 2016'
REFERENCE = {
    'paper': f'{PAPER}, Table 1',
    'public': 'github.com/beopst/dcn.tf, README.md at 81ab079, 300 epochs; its errors are on a '
    'validation set, averaged over the last 10 epochs',
}


class Table1Row(NamedTuple):
    """A model of Table 1 with the errors, in percent, that REFERENCE's sources give for it.

    Attributes:
        clutters: Columns that it has.
    """

    label: str
    config: str
    paper: float | None
    public: float | None
    clutters: tuple[str, ...] = tuple(CLUTTERS)


TABLE1 = [
    Table1Row('Coarse model', 'coarse', 3.69, 2.49),
    Table1Row('Fine model', 'fine', 1.70, 1.07),
    Table1Row('DCN, no hints, 8 patches', 'dcn-k8', 1.71, 1.44),
    Table1Row('DCN, hints, 8 patches', 'dcn-k8-hint', 1.39, 1.20),
    Table1Row('DCN, hints, 24 patches', 'dcn-k24-hint', None, 0.93),
    # Warped digits, which the paper does not have.
    Table1Row('DCN, hints, 8 patches, augmented', 'dcn-k8-hint-augmented', None, None, ('fresh',)),
    Table1Row(
        'DCN, hints, 24 patches, augmented', 'dcn-k24-hint-augmented', None, None, ('fresh',)
    ),
]
# §4.1.3, with 8 patches.
PAPER_MULTIPLICATIONS = {'fine': 84.5e6, 'dcn-k8-hint': 27.7e6}
SVHN_SHAPES = ('1x400x900', '1x1600x3600')
PAPER_SPEEDUP = 2.9  # of the DCN over the fine model
# §4.2.4, ms an image of the 100 largest of SVHN's test set, 363×735 to 442×1083.
PAPER_SVHN_MS = {'coarse': 8.6, 'fine': 62.6, 'dcn-k6': 10.8}
FIGURE_3_EPOCHS = 9  # §4.1.3
FIGURE_3_AVERAGES = (1, 2, 4, 8, 16, 32)
FIGURE_6_IMAGES = 'test_dataloader.dataset.indices=[2,11,30]'  # of more pixels than most

QUICK = [
    'train_dataloader.batch_size=8',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'default_hooks.logger.interval=1',
    'val_dataloader.dataset.indices=16',
    'test_dataloader.dataset.indices=24',
]
# Eight batches an epoch, so that a quarter of one can be a warm-up of more than one step.
QUICK_CLUTTERED = [*QUICK, 'train_dataloader.dataset.indices=64']
QUICK_STREET = [
    *QUICK,
    'train_dataloader.batch_size=4',
    'train_dataloader.dataset.indices=8',
    'train_dataloader.dataset.val_size=4',
    'val_dataloader.dataset.val_size=4',
    'val_dataloader.dataset.indices=4',
    'train_cfg.val_interval=10',
]


class Run(NamedTuple):
    """A training.

    Attributes:
        folder: Of its logs and checkpoints.
        epochs: How many it has.
        options: Of the config, for training and testing alike.
        cwd: Where it runs.
        amp: Whether it is trained in mixed precision.
    """

    config: Path
    seed: int
    clutter: str
    folder: Path
    epochs: int
    options: list[str]
    cwd: Path = Path('.')
    amp: bool = False

    @property
    def checkpoint(self) -> Path:
        return self.folder / f'epoch_{self.epochs}.pth'

    def reached(self) -> int:
        """Epochs done."""
        last = self.folder / 'last_checkpoint'
        found = re.search(r'epoch_(\d+)\.pth', last.read_text()) if last.is_file() else None
        return int(found.group(1)) if found else 0

    def describe(self) -> str:
        clutter = f', {CLUTTERS[self.clutter]}' if self.clutter else ''
        return f'{names_of([self.config])[0]}, seed {self.seed}{clutter}'


class Place(NamedTuple):
    """Where things go, and how much is done."""

    args: argparse.Namespace
    work: Path
    results: Path

    def write(self, name: str, **content) -> None:
        """Write results/<name>.json, all of it or nothing, and its table beside it."""
        args = self.args
        sources = content.pop('sources', None) or [provenance()]
        result = dict(
            name=name,
            command=content.pop('command', command_line()),
            quick=args.quick,
            amp=args.amp,
            commits=distinct(source['commit'] for source in sources),
            devices=distinct(source['device'] for source in sources),
            torch=distinct(source['versions']['torch'] for source in sources),
            versions=versions(),
            evaluated=provenance(),
            **content,
        )
        write_json(self.results / f'{name}.json', result)
        print(f'\n{section(result)}\n\n{self.results / name}.json written.')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('experiment', choices=EXPERIMENTS)
    parser.add_argument(
        '--device', help="'cpu', 'cuda' or 'cuda:1' (default: a GPU where there is one)"
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='of table1 and table2; the figures take the first (default: 0 1 2)',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a few images only, to see that everything works together',
    )
    parser.add_argument(
        '--epochs',
        type=int,
        help='of table1, fig2 and fig3: so many in place of '
        "the config's, with its schedule shortened alike",
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train table1, fig2 and fig3 in mixed precision; tests are in float32',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        choices=[row.config for row in TABLE1],
        default=[row.config for row in TABLE1],
        help='rows of table1 to train',
    )
    parser.add_argument(
        '--clutter',
        nargs='+',
        choices=list(CLUTTERS),
        default=list(CLUTTERS),
        help='columns of table1 to train',
    )
    parser.add_argument(
        '--width',
        choices=['', 'w25'],
        default='',
        help="of table2's towers: '' is the paper's, w25 a quarter of it",
    )
    parser.add_argument(
        '--dataset',
        choices=['street-numbers', 'svhn'],
        default='street-numbers',
        help='of table2: the synthetic twin, or SVHN itself',
    )
    parser.add_argument(
        '--jobs', type=int, default=1, help='trainings at a time (default: %(default)s)'
    )
    parser.add_argument(
        '--no-timing',
        action='store_true',
        help='of cost: count only, as where other work would disturb',
    )
    args = parser.parse_args()
    if args.device and not re.fullmatch(r'cpu|cuda(:\d+)?', args.device):
        parser.error(f"--device takes 'cpu', 'cuda' or 'cuda:1', got {args.device!r}.")
    for option in ('epochs', 'jobs'):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            parser.error(f'--{option} must be at least 1, got {getattr(args, option)}.')
    if args.dataset == 'svhn' and args.width:
        parser.error("--dataset svhn has towers of the paper's width only; leave --width out.")
    if min(args.seeds) < 0:
        parser.error(f'--seeds must be at least 0, got {min(args.seeds)}.')
    for option, experiments in (
        ('epochs', 'table1, fig2 and fig3'),
        ('amp', 'table1, fig2 and fig3'),
        ('models', 'table1'),
        ('clutter', 'table1'),
        ('width', 'table2'),
        ('dataset', 'table2'),
        ('no_timing', 'cost'),
    ):
        if (
            getattr(args, option) != parser.get_default(option)
            and args.experiment not in experiments
        ):
            parser.error(
                f'--{option.replace("_", "-")} is for {experiments}, not for {args.experiment}.'
            )
    return args


def main() -> None:
    args = parse_args()
    choose_device(args.device)
    base = Path('work_dirs', 'reproduce-quick' if args.quick else 'reproduce')
    place = Place(args, base, base / 'results' if args.quick else Path('results'))
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with stopping_scripts():
            EXPERIMENTS[args.experiment](place)
    except ScriptError as error:
        raise SystemExit(str(error)) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def choose_device(device: str | None) -> None:
    """Show all scripts to come the device only.

    Raises:
        SystemExit: It is not there.
    """
    if device is None:
        return
    _, _, index = device.partition(':')
    if device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
    elif index:
        # Of those that this process may see, as torch counts them.
        visible = list(filter(None, os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')))
        if visible:
            index = dict(enumerate(visible)).get(int(index), '-1')
        os.environ['CUDA_VISIBLE_DEVICES'] = index
    if device != 'cpu' and not torch.cuda.is_available():
        raise SystemExit(
            f'--device {device}: torch {torch.__version__} finds no such GPU; leave '
            'the option out or take cpu.'
        )


# Experiments


def table1(place: Place) -> None:
    """Test errors on Cluttered MNIST, with fixed and with fresh clutter."""
    args = place.args
    name, epochs, shortened = cluttered_epochs('table1', args)
    runs = [
        cluttered_run(place, row.config, seed, clutter, epochs)
        for seed in args.seeds
        for clutter in args.clutter
        for row in TABLE1
        if row.config in args.models and clutter in row.clutters
    ]
    if not runs:
        raise SystemExit(
            f'{" ".join(args.models)} has no column for {" ".join(args.clutter)} clutter.'
        )
    need_mnist()
    train_all(runs, args.jobs, test=True)

    rows, sources, found = [], [], []
    for row in TABLE1:
        cells = {}
        for clutter in row.clutters:
            # All that is there: runs of other seeds may have been made before.
            like = cluttered_run(place, row.config, 0, clutter, epochs)
            done = sorted(
                (
                    json.loads(path.read_text())
                    for path in like.folder.parent.glob(
                        re.sub(r'-seed0', '-seed[0-9]*', like.folder.name) + '/run.json'
                    )
                ),
                key=lambda run: run['seed'],
            )
            done = [
                run
                for run in done
                if (run['clutter'], run['epochs'], run['amp']) == (clutter, epochs, args.amp)
            ]
            cells[clutter] = summary([run['test_error'] for run in done])
            for run in done:
                check_settings(cluttered_run(place, row.config, run['seed'], clutter, epochs))
            found += done
            sources += [start for run in done for start in run['starts']]
        rows.append(
            dict(
                label=row.label,
                config=relative(like.config),
                paper=row.paper,
                public=row.public,
                **cells,
            )
        )
    # The one command that makes this table; several may have trained its runs.
    trained = {run['config'] for run in found}
    command = command_line(
        [
            'table1',
            *['--quick'] * args.quick,
            *(['--epochs', epochs] if args.epochs else []),
            *['--amp'] * args.amp,
            '--seeds',
            *distinct(run['seed'] for run in found),
            '--clutter',
            *dict.fromkeys(run['clutter'] for run in found),
            '--models',
            *(row.config for row in TABLE1 if relative(cluttered_config(row.config)) in trained),
        ]
    )
    place.write(
        name,
        command=command,
        epochs=epochs,
        shortened=shortened,
        seeds=distinct(run['seed'] for run in found),
        protocol=(
            'trained on 55,000 images, hyper-parameters chosen on val (5,000), the '
            'weights of the last epoch tested once on test (10,000)'
        ),
        reference=REFERENCE,
        rows=rows,
        runs=found,
        sources=sources,
    )


def table2(place: Place) -> None:
    """Sequence errors on street numbers, where the towers are trained apart; and Figure 6."""
    args = place.args
    tool = TOOLS / 'analysis_tools' / 'table2.py'
    name = '-'.join(
        filter(None, ['table2', args.dataset.removeprefix('street-numbers'), args.width])
    )
    table = runpy.run_path(str(tool))['rows'](args.dataset, args.width)
    data = Path('data', args.dataset)
    if not data.is_dir():
        converter = (
            'prepare_svhn.py'
            if args.dataset == 'svhn'
            else 'make_street_numbers.py --train 20000 --extra 10000 --test 1000'
        )
        raise SystemExit(
            f'{data} is missing: run `python tools/dataset_converters/{converter} --out {data}`.'
        )
    towers, folders = [], {}
    for seed in args.seeds:
        # The configs look for the towers in work_dirs/<config> below the working folder.
        folders[seed] = folder = (place.work / name / f'seed{seed}').absolute()
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / 'data'
        if not link.is_symlink():
            link.symlink_to(Path('data').resolve())
        for row in table[0], table[3]:
            config = SVHN / f'{row.config}.py'
            towers.append(
                Run(
                    config,
                    seed,
                    '',
                    folder / 'work_dirs' / row.config,
                    Config.fromfile(config).train_cfg.max_epochs,
                    [f'randomness.seed={seed}', *(QUICK_STREET if args.quick else [])],
                    folder,
                )
            )
    train_all(towers, args.jobs, test=False)

    dcn = next(row.config for row in table if row.label == 'DCN, 9 patches, 3 scales')
    for folder in folders.values():
        print(f'Testing {len(table)} rows in {folder.relative_to(Path.cwd())}')
        run_script(
            tool,
            [
                args.dataset,
                '--width',
                args.width,
                *(
                    [
                        '--cfg-options',
                        'test_dataloader.dataset.indices=4',
                        'test_dataloader.num_workers=0',
                    ]
                    if args.quick
                    else []
                ),
            ],
            folder=folder,
            log=folder / 'table2.log',
        )
    picture = f'{name}-patches.png'
    run_script(
        TOOLS / 'visualizations' / 'draw_patches.py',
        [
            SVHN / f'{dcn}.py',
            '--tta',
            '--num',
            3,
            '--out',
            (place.results / picture).absolute(),
            *([] if args.quick else ['--cfg-options', FIGURE_6_IMAGES]),
        ],
        folder=folders[args.seeds[0]],
        log=folders[args.seeds[0]] / 'fig6.log',
    )
    images = {
        subset: sum(1 for _ in (data / subset).glob('*.png'))
        for subset in ('train', 'extra', 'test')
    }
    errors: dict[str, list[float]] = {row.config: [] for row in table}
    seeds, sources = [], []
    # All that is there: other seeds may have been run before.
    for folder in sorted((place.work / name).glob('seed*'), key=lambda path: int(path.name[4:])):
        tested = [folder / 'work_dirs' / 'table2' / f'{row.config}.json' for row in table]
        if all(path.is_file() for path in tested):
            seeds.append(int(folder.name[4:]))
            for row, path in zip(table, tested):
                errors[row.config].append(100 - json.loads(path.read_text())['accuracy/sequence'])
            for path in sorted(folder.glob('work_dirs/*/starts.json')):
                sources += json.loads(path.read_text())
    place.write(
        name,
        dataset=args.dataset,
        images=images,
        width=args.width,
        seeds=seeds,
        protocol='towers trained on centred numbers, hyper-parameters chosen on other '
        'images, tested on uncropped images, each once',
        reference={'paper': f'{PAPER}, Table 2 (all patches: §4.2.4), on SVHN'},
        rows=[
            dict(
                label=row.label,
                config=f'configs/dcn/{row.config}.py',
                paper=row.paper,
                seeds=seeds,
                **summary(errors[row.config]),
            )
            for row in table
        ],
        pictures={
            picture: f'{dcn}, a row an image, a column a scale: heat is the '
            'saliency, boxes are the patches (Figure 6)'
        },
        sources=sources,
    )


def fig2(place: Place) -> None:
    """The hint distance in training, with hints and without."""
    args = place.args
    name, epochs, shortened = cluttered_epochs('fig2', args)
    need_mnist()
    runs = [
        cluttered_run(place, model, args.seeds[0], 'fixed', epochs)
        for model in ('dcn-k8', 'dcn-k8-hint')
    ]
    train_all(runs, args.jobs, test=False)
    run_script(
        TOOLS / 'visualizations' / 'hint_distance.py',
        [*(run.folder for run in runs), '--out', place.results / f'{name}.png'],
        log=place.work / f'{name}.log',
    )
    curves = []
    for run, label in zip(runs, ('DCN, no hints', 'DCN, hints')):
        curve = read_scalars(run.folder, 'hint_distance')
        curves.append(
            dict(
                label=label,
                config=relative(run.config),
                seed=run.seed,
                iterations=list(curve),
                distances=list(curve.values()),
            )
        )
    place.write(
        name,
        epochs=epochs,
        shortened=shortened,
        seeds=args.seeds[:1],
        curves=curves,
        pictures={
            f'{name}.png': 'Squared distance between the coarse and fine vectors of '
            'the chosen cells (eq. 6) while a DCN trains'
        },
        sources=[start for run in runs for start in starts_of(run)],
    )


def fig3(place: Place) -> None:
    """Patches after 9 epochs, the error against their number, and that of other places."""
    args = place.args
    name, epochs, shortened = cluttered_epochs('fig3', args, FIGURE_3_EPOCHS)
    need_mnist()
    run = cluttered_run(place, 'dcn-k8-hint', args.seeds[0], 'fixed', epochs)
    train_all([run], args.jobs, test=False)
    # What the runner has written into its folder: the config with all options of the run.
    config, log = run.folder / run.config.name, run.folder / 'fig3.log'
    run_script(
        TOOLS / 'visualizations' / 'draw_patches.py',
        [config, run.checkpoint, '--subset', 'val', '--out', place.results / f'{name}-patches.png'],
        log=log,
    )
    parts = {}
    for part, tool, options in (
        ('error', 'budget_curve', ['--average-k', *FIGURE_3_AVERAGES]),
        ('saliency', 'compare_saliency', []),
    ):
        print(f'Running {tool}.py')
        found = run.folder / f'{tool}.json'
        run_script(
            TOOLS / 'analysis_tools' / f'{tool}.py',
            [config, run.checkpoint, '--subset', 'val', *options, '--out', found],
            log=log,
        )
        found.with_suffix('.png').replace(place.results / f'{name}-{part}.png')
        parts[part] = json.loads(found.read_text())['results']
    place.write(
        name,
        epochs=epochs,
        shortened=shortened,
        seeds=[run.seed],
        config=relative(run.config),
        subset='val',
        pictures={
            f'{name}-patches.png': 'Images of val: heat is the saliency, boxes are the '
            'eight patches, a title is blue where the prediction '
            'is right and orange where it is wrong',
            f'{name}-error.png': 'Error on val against the average number of patches, '
            'fixed and by the image',
            f'{name}-saliency.png': 'Error on val against multiplications, with saliencies '
            'that were swapped at test time',
        },
        rows=parts['error'],
        saliency=parts['saliency'],
        sources=starts_of(run),
    )


def fig5(place: Place) -> None:
    """Multiplications against the size of the image."""
    names = (
        (
            'coarse-w25_1xb32-10e_street-numbers',
            'fine-w25_1xb32-5e_street-numbers',
            'dcn-k6-w25_street-numbers',
        )
        if place.args.quick
        else ('coarse_1xb128-10e_svhn', 'fine_1xb128-10e_svhn', 'dcn-k6_svhn')
    )
    configs = [SVHN / f'{name}.py' for name in names]
    rows = count(place, 'fig5', configs, (1, 54, 110), '--sweep', place.results / 'fig5.png')
    place.write(
        'fig5',
        rows=rows,
        pictures={'fig5.png': 'Multiplications against the size of the image (Figure 5)'},
    )


def cost(place: Place) -> None:
    """Multiplications of the models of Cluttered MNIST; times and memory of all experiments'."""
    args = place.args
    configs = [
        cluttered_config(model) for model in ('coarse', 'fine', 'dcn-k8-hint', 'dcn-k24-hint')
    ]
    rows = [
        dict(row, paper=PAPER_MULTIPLICATIONS.get(row['label']))
        for row in count(place, 'cost', configs, (1, 100, 100))
    ]
    folder = place.work / 'cost'
    if not args.no_timing:
        need_mnist()
        (folder / 'timed.json').unlink(missing_ok=True)
        megapixel = [
            MEGAPIXEL / f'{model}_1xb16-30e_megapixel-mnist.py'
            for model in ('fine', 'dcn-k5', 'dcn-k10', 'dcn-k20')
        ]
        svhn = [
            SVHN / f'{name}.py'
            for name in ('coarse_1xb128-10e_svhn', 'fine_1xb128-10e_svhn', 'dcn-k6_svhn')
        ]
        for part, models, options in (
            (
                'cluttered_mnist',
                configs,
                [
                    '--shapes',
                    '1x100x100',
                    '--batch-sizes',
                    1,
                    8,
                    64,
                    '--variants',
                    'as-built',
                    'autograd',
                ],
            ),
            (
                'megapixel_mnist',
                megapixel,
                [
                    '--shapes',
                    '1x256x256' if args.quick else '1x1500x1500',
                    '--batch-sizes',
                    1,
                    '--training',
                ],
            ),
            (
                'svhn',
                svhn,
                ['--shapes', *(['1x54x110'] if args.quick else SVHN_SHAPES), '--batch-sizes', 1],
            ),
        ):
            print(f'Timing {part}')
            run_script(
                TOOLS / 'analysis_tools' / 'benchmark.py',
                [
                    *models,
                    *options,
                    '--rounds',
                    1 if args.quick else 20,
                    '--out',
                    folder / f'times-{part}.json',
                ],
                log=folder / 'cost.log',
            )
        for config in configs[-1], megapixel[-1]:
            print(f'Timing the dataset of {config.parent.name}')
            run_script(
                TOOLS / 'analysis_tools' / 'benchmark_dataset.py',
                [
                    config,
                    '--num',
                    256 if args.quick else 1024,
                    '--rounds',
                    1 if args.quick else 5,
                    '--out',
                    folder / f'speeds-{config.parent.name}.json',
                ],
                log=folder / 'cost.log',
            )
        write_json(folder / 'timed.json', provenance())
    found, timed = {'times': [], 'speeds': []}, folder / 'timed.json'
    for kind, rows_of_kind in found.items():
        for path in sorted(folder.glob(f'{kind}-*.json')) if timed.is_file() else []:
            rows_of_kind += [
                dict(row, config=relative(Path(row['config'])))
                for row in json.loads(path.read_text())
            ]
    place.write(
        'cost',
        reference={'paper': PAPER, 'speedup': PAPER_SPEEDUP, 'svhn_ms': PAPER_SVHN_MS},
        rows=rows,
        timings=found['times'],
        datasets=found['speeds'],
        timed=json.loads(timed.read_text()) if found['times'] else None,
    )


EXPERIMENTS = {function.__name__: function for function in (table1, fig2, fig3, table2, fig5, cost)}


# Steps


def cluttered_config(model: str) -> Path:
    return CLUTTERED / f'{model}_1xb128-60e_cluttered-mnist.py'


def cluttered_epochs(
    name: str, args: argparse.Namespace, whole: int | None = None
) -> tuple[str, int, int | None]:
    """The name of the result, the epochs of its runs, and of how many if these are fewer.

    Args:
        whole: Epochs of a full run; by default the configs'.
    """
    whole = whole or Config.fromfile(cluttered_config('coarse')).train_cfg.max_epochs
    epochs = args.epochs or (1 if args.quick else whole)
    length = '' if args.quick or epochs == whole else f'-{epochs}e'
    amp = '-amp' if args.amp else ''
    return f'{name}{length}{amp}', epochs, whole if epochs < whole else None


def cluttered_run(place: Place, model: str, seed: int, clutter: str, epochs: int) -> Run:
    """A run in the folder of table1, whose runs the figures use as well."""
    config = cluttered_config(model)
    cfg = Config.fromfile(config)
    whole = cfg.train_cfg.max_epochs
    options = [f'randomness.seed={seed}', *(QUICK_CLUTTERED if place.args.quick else [])]
    name = f'{config.stem}-seed{seed}'
    if clutter == 'fresh':
        name += '-fresh'
        options.append('train_dataloader.dataset.regenerate=True')
    if epochs != whole:
        name += f'-{epochs}e'
        options.append(f'train_cfg.max_epochs={epochs}')
        options += [
            f'param_scheduler.{index}.{key}={scheduler[key] * epochs / whole:g}'
            for index, scheduler in enumerate(cfg.param_scheduler)
            for key in ('begin', 'end')
        ]
    if place.args.amp:
        name += '-amp'
    return Run(
        config, seed, clutter, place.work / 'table1' / name, epochs, options, amp=place.args.amp
    )


def train_all(runs: Sequence[Run], jobs: int, test: bool) -> None:
    """Finish runs, and show how far they are."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress, ThreadPoolExecutor(jobs) as pool, stopping_scripts():
        bar = progress.add_task('Epochs of all runs', total=sum(run.epochs for run in runs))
        waiting = {pool.submit(finish, run, test): run for run in runs}
        try:
            while waiting:
                for future in wait(waiting, 1.0, FIRST_COMPLETED).done:
                    run = waiting.pop(future)
                    progress.console.print(f'{run.describe()}: {future.result()}', highlight=False)
                progress.update(bar, completed=sum(run.reached() for run in runs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def finish(run: Run, test: bool) -> str:
    """Train to the end, then test once, unless that is done.

    Returns:
        str: What there was to do.
    """
    with alone_in(run.folder):
        return _finish(run, test)


def _finish(run: Run, test: bool) -> str:
    marker, said = run.folder / 'run.json', []
    check_settings(run)
    reached = run.reached()
    if reached < run.epochs:
        note_start(run)
        run_script(
            TOOLS / 'train.py',
            [
                run.config,
                '--work-dir',
                run.folder.absolute(),
                '--resume',
                *(['--amp'] if run.amp else []),
                '--cfg-options',
                *run.options,
            ],
            folder=run.cwd,
            log=run.folder / 'train.log',
        )
        said.append(f'went on after epoch {reached}' if reached else 'trained')
    if test and not marker.is_file():
        metrics = run.folder / 'test.json'
        if not metrics.is_file():
            unfinished = metrics.with_name('test.unfinished.json')
            run_script(
                TOOLS / 'test.py',
                [
                    run.config,
                    run.checkpoint,
                    '--work-dir',
                    run.folder / 'test',
                    '--out',
                    unfinished,
                    '--out-item',
                    'metrics',
                    '--cfg-options',
                    *run.options,
                ],
                log=run.folder / 'test.log',
            )
            unfinished.replace(metrics)
        found = json.loads(metrics.read_text())
        accuracies = read_scalars(run.folder, 'accuracy/top1')
        write_json(
            marker,
            dict(
                config=relative(run.config),
                seed=run.seed,
                clutter=run.clutter,
                epochs=run.epochs,
                amp=run.amp,
                options=run.options,
                checkpoint=run.checkpoint.name,
                # None where the run was killed before its last epoch was validated.
                val_error=100 - accuracies[run.epochs] if run.epochs in accuracies else None,
                test_error=100 - found['accuracy/top1'],
                metrics=found,
                starts=starts_of(run),
            ),
        )
        said.append(f'test error {100 - found["accuracy/top1"]:.2f} %')
    return ', '.join(said) or 'was done'


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process works on the run in a folder; the figures share table1's."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'a') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_settings(run: Run) -> None:
    """Compare what a run is to be trained with, or keep it where nothing is trained yet.

    Raises:
        ScriptError: What is there was trained with something else.
    """
    cfg, kept = Config.fromfile(run.config), run.folder / 'settings.json'
    settings = dict(
        options=run.options,
        amp=run.amp,
        **{
            name: cfg.get(name)
            for name in (
                'model',
                'data_preprocessor',
                'train_dataloader',
                'optim_wrapper',
                'param_scheduler',
                'train_cfg',
                'test_dataloader',
                'test_evaluator',
            )
        },
    )
    settings = json.loads(json.dumps(settings))  # tuples become lists
    if not kept.is_file():
        write_json(kept, settings)
    elif (before := json.loads(kept.read_text())) != settings:
        changed = [name for name in settings if settings[name] != before.get(name)]
        raise ScriptError(
            f'{relative(run.config)} has changed since {run.folder} was begun '
            f'({", ".join(changed)}): remove that folder to train it again.'
        )


def note_start(run: Run) -> None:
    """Keep the commit and the machine of every process that trains a run."""
    starts, now = starts_of(run), dict(provenance(), command=command_line())
    if now not in starts:
        write_json(run.folder / 'starts.json', [*starts, now])


def starts_of(run: Run) -> list[dict]:
    path = run.folder / 'starts.json'
    return json.loads(path.read_text()) if path.is_file() else []


def count(
    place: Place, name: str, configs: Sequence[Path], shape: Sequence[int], *options
) -> list[dict]:
    """Rows of get_cost.py, with labels."""
    out = place.work / name / 'counts.json'
    run_script(
        TOOLS / 'analysis_tools' / 'get_cost.py',
        [*configs, '--shape', *shape, '--out', out, *options],
        log=out.with_name(f'{name}.log'),
    )
    labels = dict(zip(map(str, configs), names_of(configs)))
    return [
        dict(cost, label=labels[cost['config']], config=relative(Path(cost['config'])))
        for cost in json.loads(out.read_text())
    ]


def need_mnist() -> None:
    if not Path('data', 'mnist', 't10k-labels-idx1-ubyte').is_file():
        raise SystemExit(
            'data/mnist is missing: run `python tools/dataset_converters/'
            'prepare_mnist.py --out data/mnist`.'
        )


# Where figures come from


def summary(errors: Sequence[float]) -> dict:
    """Mean and sample standard deviation of errors in percent."""
    return dict(
        errors=list(errors),
        mean=statistics.fmean(errors) if errors else None,
        std=statistics.stdev(errors) if len(errors) > 1 else None,
    )


def provenance() -> dict:
    return dict(commit=commit(), versions=versions(), device=device_name())


def commit() -> str:
    """The commit of the code, with a plus behind it where the code was changed since."""

    def git(*args: str) -> str:
        return subprocess.run(
            ['git', '-C', str(ROOT), *args], check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        changed = git('status', '--porcelain', '--', 'mmdcn', 'tools', ':(glob)configs/**/*.py')
        return git('rev-parse', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def versions() -> dict[str, str]:
    found = {'python': '.'.join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpu = Path('/proc/cpuinfo')
    model = re.search(r'model name\s*:\s*(.*)', cpu.read_text()) if cpu.is_file() else None
    return f'CPU ({model.group(1) if model else "unknown"}, threads: {torch.get_num_threads()})'


def command_line(arguments: Iterable | None = None) -> str:
    """This one's, or that of other arguments."""
    return shlex.join(
        [
            'python',
            'tools/reproduce.py',
            *map(str, sys.argv[1:] if arguments is None else arguments),
        ]
    )


def relative(path: Path) -> str:
    return str(path.resolve().relative_to(ROOT))


def distinct(items) -> list:
    return sorted(set(items))


def write_json(path: Path, content) -> None:
    """Write a file, all of it or nothing; lists of numbers take a line each."""
    text = re.sub(
        r'\[[\d\s.,eE+-]*\]',
        lambda found: re.sub(r'\s+', ' ', found.group()),
        json.dumps(content, indent=1),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'{path.name}.unfinished')
    unfinished.write_text(text + '\n')
    unfinished.replace(path)


if __name__ == '__main__':
    main()
