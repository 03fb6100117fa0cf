"""Compare saliencies of a DCN: error, share of patches on the object, and cost.

    python tools/analysis_tools/compare_saliency.py CONFIG CHECKPOINT --out work_dirs/saliency.json

The tool takes one trained DCN and swaps its saliency and its number of patches at test time. So all
rows have the same weights, trained with one saliency such as EntropyGradient. Weights trained with
another saliency could give other errors. A plot of the error over multiplications is saved beside
the JSON file, as a PNG.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from mmdcn.models import (
    ActivationNorm,
    ClassActivation,
    DCNClassifier,
    EntropyGradient,
    OracleCells,
    RandomCells,
    TopKSelector,
)
from mmdcn.utils.build import build_loader, read_config
from mmdcn.visualization.pictures import new_chart, save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import errors_as_messages
from tools.output import print_table, write_json
from tools.reproduction.swaps import compare, load_dcn, swap_parser

BUDGETS = (2, 4, 8, 16, 24)  # patches per image
FIGURES = {
    'error': 'error, %',
    'patch_hit': 'patches that touch the object, %',
    'multiplications': 'multiplications per image, millions',
}


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = swap_parser(__doc__.splitlines()[0], 'compare_saliency.json').parse_args(argv)
    cfg = read_config(args.config)
    model = load_dcn(cfg, args.checkpoint)
    torch.manual_seed(0)  # for RandomCells
    loader = build_loader(cfg, args.subset)
    swaps = {
        (type(measure).__name__, k): dict(saliency=measure, selector=TopKSelector(k=k))
        for measure in measures_for(model)
        for k in BUDGETS
    }
    results = [
        dict(saliency=measure, k=k, **found)
        for (measure, k), found in compare(model, loader, swaps).items()
    ]

    write_json(
        args.out,
        dict(
            config=args.config,
            checkpoint=args.checkpoint,
            subset=args.subset,
            images=len(loader.dataset),
            results=results,
        ),
    )
    plot = args.out.with_suffix('.png')
    save(draw(results), plot)
    for figure, label in FIGURES.items():
        digits = 2 if figure == 'error' else 1
        print_table(
            f'{label} ({args.subset})',
            ['', *(f'k = {k}' for k in BUDGETS)],
            [
                [measure, *(f'{value:.{digits}f}' for value in values)]
                for measure, values in by_measure(results, figure).items()
            ],
        )
    print(f'{args.out} and {plot} written.')


def measures_for(model: DCNClassifier) -> list[nn.Module]:
    return [
        EntropyGradient(),
        ClassActivation(),
        ActivationNorm(),
        RandomCells(),
        OracleCells(grid=model.grid),
    ]


def by_measure(results: list[dict], figure: str) -> dict[str, list[float]]:
    """Group a figure's values by saliency, in order of budgets; multiplications in millions."""
    values: dict[str, list[float]] = {}
    for result in results:
        scale = 1e-6 if figure == 'multiplications' else 1
        values.setdefault(result['saliency'], []).append(scale * result[figure])
    return values


def draw(results: list[dict]) -> Figure:
    """Draw the error over multiplications: a line per saliency and a point per budget."""
    figure, axes = new_chart(
        xlabel=f'{FIGURES["multiplications"]} (k = {", ".join(map(str, BUDGETS))})',
        ylabel=FIGURES['error'],
    )
    costs = by_measure(results, 'multiplications')
    for (measure, errors), marker in zip(
        by_measure(results, 'error').items(), 'osD^v', strict=False
    ):
        axes.plot(costs[measure], errors, marker=marker, label=measure)
    axes.set_ylim(0, None)
    axes.legend()
    return figure


if __name__ == '__main__':
    main()
