"""Reproduce Figure 5 and the table of costs."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from tools.output import names_of, write_json

from .cluttered_mnist import cluttered_config, need_mnist
from .place import PAPER, Place
from .processes import run_tool
from .provenance import ROOT, provenance, relative
from .results import dataset_of

CONFIGS = ROOT / 'configs' / 'dcn'
# §4.1.3, with 8 patches.
PAPER_MULTIPLICATIONS = {'fine': 84.5e6, 'dcn-k8-hint': 27.7e6}
SVHN_SHAPES = ('1x400x900', '1x1600x3600')
PAPER_SPEEDUP = 2.9  # time of the fine model / time of the DCN
# §4.2.4: ms per image for the 100 largest images of SVHN's test set, 363×735 to 442×1083.
PAPER_SVHN_MS = {'coarse': 8.6, 'fine': 62.6, 'dcn-k6': 10.8}


def fig5(place: Place) -> None:
    """Draw the number of multiplications against the size of the image."""
    names = (
        ('coarse-w25_1xb32-10e_svhn', 'fine-w25_1xb32-5e_svhn', 'dcn-k6-w25_svhn')
        if place.args.quick
        else ('coarse_1xb128-10e_svhn', 'fine_1xb128-10e_svhn', 'dcn-k6_svhn')
    )
    configs = [CONFIGS / f'{name}.py' for name in names]
    rows = count(place, 'fig5', configs, (1, 54, 110), '--sweep', place.results / 'fig5.png')
    place.write(
        'fig5',
        rows=rows,
        pictures={'fig5.png': 'Multiplications against the size of the image (Figure 5)'},
    )


def cost(place: Place) -> None:
    """Count the models of Cluttered MNIST, and measure time and memory of all experiments'."""
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
        time_all(folder, configs, args.quick)
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


def time_all(folder: Path, cluttered: Sequence[Path], quick: bool) -> None:
    """Time the models, with one file per dataset and image size, and two of the datasets.

    What an earlier run of the same commit timed is kept.
    """
    torch.set_num_threads(1)  # as benchmark.py does
    timed, now = folder / 'timed.json', provenance()
    if not timed.is_file() or json.loads(timed.read_text()) != now:
        for path in folder.glob('*-*.json'):
            path.unlink()
        write_json(timed, now)
    megapixel = [
        CONFIGS / f'{model}_1xb16-30e_megapixel-mnist.py'
        for model in ('fine', 'dcn-k5', 'dcn-k10', 'dcn-k20')
    ]
    svhn = [
        CONFIGS / f'{name}.py'
        for name in ('coarse_1xb128-10e_svhn', 'fine_1xb128-10e_svhn', 'dcn-k6_svhn')
    ]
    large = '1x256x256' if quick else '1x1500x1500'
    streets, batches = (['1x54x110'], [1, 2]) if quick else (SVHN_SHAPES, [1, 8, 64])
    variants = ['--variants', 'as-built', 'autograd']
    runtimes = []
    if not quick:  # exporting and compiling take minutes
        variants += ['compiled', 'onnxruntime']
        runtimes += ['--variants', 'onnxruntime']
    log = folder / 'cost.log'
    for models, shape, options in (
        (cluttered, '1x100x100', ['--batch-sizes', *batches, *variants]),
        (megapixel, large, ['--batch-sizes', 1, '--training', *runtimes]),
        *((svhn, street, ['--batch-sizes', 1, *runtimes]) for street in streets),
    ):
        dataset = dataset_of(models[0])
        rounds, out = 1 if quick else 20, folder / f'times-{dataset}-{shape}.json'
        if out.is_file():
            continue
        print(f'Timing the models of {dataset} on images of {shape}')
        run_tool(
            'tools.analysis_tools.benchmark',
            [*models, '--shapes', shape, *options, '--rounds', rounds, '--out', out],
            log=log,
        )
    for config in cluttered[-1], megapixel[-1]:
        dataset = dataset_of(config)
        number, rounds = (256, 1) if quick else (1024, 5)
        out = folder / f'speeds-{dataset}.json'
        if out.is_file():
            continue
        print(f'Timing the dataset of {dataset}')
        run_tool(
            'tools.analysis_tools.benchmark_dataset',
            [config, '--num', number, '--rounds', rounds, '--out', out],
            log=log,
        )


def count(
    place: Place, name: str, configs: Sequence[Path], shape: Sequence[int], *options
) -> list[dict]:
    """Return the counts of tools/analysis_tools/get_cost.py, with labels."""
    out = place.work / name / 'counts.json'
    run_tool(
        'tools.analysis_tools.get_cost',
        [*configs, '--shape', *shape, '--out', out, *options],
        log=out.with_name(f'{name}.log'),
    )
    labels = dict(zip(map(str, configs), names_of(configs), strict=True))
    return [
        dict(cost, label=labels[cost['config']], config=relative(Path(cost['config'])))
        for cost in json.loads(out.read_text())
    ]
