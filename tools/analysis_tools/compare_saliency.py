"""Compare where a DCN can look: error, patches on the object and cost of each saliency.

    python tools/analysis_tools/compare_saliency.py CONFIG CHECKPOINT --out work_dirs/saliency.json

Takes one DCN as it was trained, with EntropyGradient say, and swaps its saliency and its number of
patches when it is tested. So a row says what the same weights make of other places, not what they
would have become, had they been trained with those. A plot, error over multiplications, is drawn
beside the JSON file, as a PNG.
"""

import mmengine
import torch
from matplotlib.figure import Figure
from torch import nn

from mmdcn.analysis.swaps import build_loader, compare, load_dcn, swap_parser
from mmdcn.models import (
    ActivationNorm,
    ClassActivation,
    DCNClassifier,
    EntropyGradient,
    OracleCells,
    RandomCells,
    TopKSelector,
)
from mmdcn.utils.build import read_config
from mmdcn.utils.table import print_table
from mmdcn.visualization.pictures import new_chart, save

BUDGETS = (2, 4, 8, 16, 24)  # patches an image
FIGURES = {
    'error': 'error, %',
    'patch_hit': 'patches that touch the object, %',
    'multiplications': 'multiplications an image, millions',
}


def main() -> None:
    args = swap_parser(__doc__.splitlines()[0], 'compare_saliency.json').parse_args()
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

    mmengine.dump(
        dict(
            config=args.config,
            checkpoint=args.checkpoint,
            subset=args.subset,
            images=len(loader.dataset),
            results=results,
        ),
        args.out,
        indent=2,
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
        OracleCells(patch_extractor=model.patch_extractor),
    ]


def by_measure(results: list[dict], figure: str) -> dict[str, list[float]]:
    """A figure's values by measure, in the order of the budgets; multiplications in millions."""
    values: dict[str, list[float]] = {}
    for result in results:
        scale = 1e-6 if figure == 'multiplications' else 1
        values.setdefault(result['saliency'], []).append(scale * result[figure])
    return values


def draw(results: list[dict]) -> Figure:
    """Error over multiplications, a line a measure and a point a budget."""
    figure, axes = new_chart(
        xlabel=f'{FIGURES["multiplications"]} (k = {", ".join(map(str, BUDGETS))})',
        ylabel=FIGURES['error'],
    )
    costs = by_measure(results, 'multiplications')
    for (measure, errors), marker in zip(by_measure(results, 'error').items(), 'osD^v'):
        axes.plot(costs[measure], errors, marker=marker, label=measure)
    axes.set_ylim(0, None)
    axes.legend()
    return figure


if __name__ == '__main__':
    main()
