"""Table 1, budgets by image, and Figures 2 and 3: Cluttered MNIST."""

import json
from argparse import Namespace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from mmengine.config import Config

from mmdcn.analysis import count_multiplications
from mmdcn.utils.build import build_model

from .place import PAPER, Place, summary
from .processes import run_tool
from .provenance import ROOT, command_line, distinct, relative
from .results import CLUTTERS
from .runs import QUICK, Run, check_settings, train_all
from .scalars import read_scalars

REFERENCE = {
    'paper': f'{PAPER}, Table 1',
    'public': 'github.com/beopst/dcn.tf, README.md at 81ab079, 300 epochs; its errors are on a '
    'validation set, averaged over the last 10 epochs',
}


class Table1Row(NamedTuple):
    """A model of Table 1 with its errors, in percent, from the sources in REFERENCE.

    Attributes:
        clutters: Columns of the table that it has.
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
    # Tested with as many patches as the entropy of the coarse prediction asks for.
    Table1Row('DCN, hints, adaptive', 'dcn-adaptive', None, None),
    # With warped digits, beyond the paper.
    Table1Row('DCN, hints, 8 patches, augmented', 'dcn-k8-hint-augmented', None, None, ('fresh',)),
    Table1Row(
        'DCN, hints, 24 patches, augmented', 'dcn-k24-hint-augmented', None, None, ('fresh',)
    ),
]
BUDGETS = (8, 4)  # patches on average
FIGURE_3_EPOCHS = 9  # §4.1.3
FIGURE_3_AVERAGES = (1, 2, 4, 8, 16, 32)
# Eight batches per epoch, so that a warm-up of a quarter epoch has more than one step.
QUICK_CLUTTERED = [*QUICK, 'train_dataloader.dataset.indices=64']


def table1(place: Place) -> None:
    """Train and test the models of Table 1, with fixed and with fresh clutter."""
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
        raise ValueError(
            f'{" ".join(args.models)} has no column for {" ".join(args.clutter)} clutter.'
        )
    need_mnist()
    train_all(place, runs, test=True)

    rows, found = [], []
    for row in TABLE1:
        cells = {}
        for clutter in row.clutters:
            done = finished(place, row.config, clutter, epochs)
            cells[clutter] = summary([run['test_error'] for run in done])
            found += done
        config = relative(cluttered_config(row.config))
        rows.append(
            dict(label=row.label, config=config, paper=row.paper, public=row.public, **cells)
        )
    # A single command that makes this table; its runs may come from several commands.
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
        sources=[start for run in found for start in run['starts']],
    )


def finished(place: Place, model: str, clutter: str, epochs: int) -> list[dict]:
    """Return the results of a model's runs with all seeds, including earlier runs.

    Raises:
        ValueError: A run has other settings.
    """
    folder = cluttered_run(place, model, 0, clutter, epochs).folder
    found = [
        json.loads(path.read_text())
        for path in folder.parent.glob(folder.name.replace('-seed0', '-seed[0-9]*') + '/run.json')
    ]
    wanted = clutter, epochs, place.args.amp
    found = [run for run in found if (run['clutter'], run['epochs'], run['amp']) == wanted]
    found.sort(key=lambda run: run['seed'])
    for run in found:
        check_settings(cluttered_run(place, model, run['seed'], clutter, epochs))
    return found


def budgets(place: Place) -> None:
    """Test the adaptive DCN with two average numbers of patches, beside the fine model.

    Thresholds are chosen on `val`, without labels.
    """
    args = place.args
    name, epochs, shortened = cluttered_epochs('budgets', args)
    need_mnist()
    runs = {
        (model, clutter): [
            cluttered_run(place, model, seed, clutter, epochs) for seed in args.seeds
        ]
        for clutter in args.clutter
        for model in ('fine', 'dcn-adaptive')
    }
    train_all(place, [run for each in runs.values() for run in each], test=True)
    fine = count_multiplications(
        build_model(Config.fromfile(cluttered_config('fine'))), torch.rand(1, 1, 100, 100)
    )
    found: dict[tuple, list[dict]] = {}
    for (model, clutter), each in runs.items():
        for run in each:
            if model == 'fine':
                error = json.loads((run.folder / 'run.json').read_text())['test_error']
                result = dict(error=error, patches=None, multiplications=fine)
                found.setdefault(('Fine model', None, clutter), []).append(result)
                continue
            for result in tested_budgets(place, run):
                key = 'DCN, adaptive', result['average_k'], clutter
                found.setdefault(key, []).append(result)
    rows = []
    for label, average in dict.fromkeys(key[:2] for key in found):
        cells = {}
        for clutter in args.clutter:
            results = found[label, average, clutter]
            cells[clutter] = dict(
                summary([result['error'] for result in results]),
                multiplications=fmean(result['multiplications'] for result in results),
                patches=fmean(result['patches'] for result in results) if average else None,
                options=[result.get('options_for_config') for result in results],
            )
        rows.append(dict(label=label, average_k=average, **cells))
    place.write(
        name,
        epochs=epochs,
        shortened=shortened,
        seeds=args.seeds,
        protocol='thresholds for an average chosen on val, without labels; errors are of test',
        rows=rows,
        sources=[start for each in runs.values() for run in each for start in run.starts()],
    )


def tested_budgets(place: Place, run: Run) -> list[dict]:
    """Test a run once with the thresholds of each average, and return the results."""
    out = run.folder / 'budgets.json'
    if not out.is_file():
        config = run.folder / run.config.name  # with all options of the run
        run_tool(
            'tools.analysis_tools.budget_curve',
            [config, run.checkpoint, '--subset', 'test', '--average-k', *BUDGETS, '--out', out],
            log=run.folder / 'budgets.log',
        )
    results = json.loads(out.read_text())['results']
    return [result for result in results if result['selector'] == 'EntropySelector']


def fig2(place: Place) -> None:
    """Draw the hint distance during training, with and without hints."""
    args = place.args
    name, epochs, shortened = cluttered_epochs('fig2', args)
    need_mnist()
    runs = [
        cluttered_run(place, model, args.seeds[0], 'fixed', epochs)
        for model in ('dcn-k8', 'dcn-k8-hint')
    ]
    train_all(place, runs)
    run_tool(
        'tools.visualizations.hint_distance',
        [*(run.folder for run in runs), '--out', place.results / f'{name}.png'],
        log=place.work / f'{name}.log',
    )
    curves = []
    for run, label in zip(runs, ('DCN, no hints', 'DCN, hints'), strict=True):
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
        sources=[start for run in runs for start in run.starts()],
    )


def fig3(place: Place) -> None:
    """Draw patches after 9 epochs, and the error for numbers of patches and other saliencies."""
    args = place.args
    name, epochs, shortened = cluttered_epochs('fig3', args, FIGURE_3_EPOCHS)
    need_mnist()
    run = cluttered_run(place, 'dcn-k8-hint', args.seeds[0], 'fixed', epochs)
    train_all(place, [run])
    # The runner writes the config with all options of the run into its folder.
    config, log = run.folder / run.config.name, run.folder / 'fig3.log'
    run_tool(
        'tools.visualizations.draw_patches',
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
        run_tool(
            f'tools.analysis_tools.{tool}',
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
        sources=run.starts(),
    )


def cluttered_config(model: str) -> Path:
    """Return the config of a model of Table 1."""
    return ROOT / 'configs' / 'dcn' / f'{model}_1xb128-60e_cluttered-mnist.py'


def cluttered_epochs(
    name: str, args: Namespace, whole: int | None = None
) -> tuple[str, int, int | None]:
    """Return a result's name, its runs' epochs, and those of a full run if there are fewer.

    Args:
        name: Name of the experiment.
        args: Arguments of the command line.
        whole: Epochs of a full run; by default those of the configs.
    """
    whole = whole or Config.fromfile(cluttered_config('coarse')).train_cfg.max_epochs
    epochs = args.epochs or (1 if args.quick else whole)
    length = '' if args.quick or epochs == whole else f'-{epochs}e'
    amp = '-amp' if args.amp else ''
    return f'{name}{length}{amp}', epochs, whole if epochs < whole else None


def cluttered_run(place: Place, model: str, seed: int, clutter: str, epochs: int) -> Run:
    """Return a run in the folder of table1, because the figures share its runs."""
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


def need_mnist() -> None:
    """Check that MNIST is in place.

    Raises:
        FileNotFoundError: MNIST is missing.
    """
    if not Path('data', 'mnist', 't10k-labels-idx1-ubyte').is_file():
        raise FileNotFoundError(
            'data/mnist is missing: run `python tools/dataset_converters/'
            'prepare_mnist.py --out data/mnist`.'
        )
