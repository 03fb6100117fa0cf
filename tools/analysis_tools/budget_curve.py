"""Error against average cost: the same number of patches for all images, or budgets of their own.

    python tools/analysis_tools/budget_curve.py CONFIG CHECKPOINT --out work_dirs/budgets.json

Takes one DCN as it was trained and swaps its selector when it is tested. For each average number of
patches the thresholds of the adaptive selectors are chosen on `val`, without labels, and printed to
be put into a config. So that no image is tested with thresholds that it helped to choose, each of
two random halves of `val` is tested with those of the other, and `test` with those of all of `val`.
A plot as in the paper's Figure 3 (right) is drawn beside the JSON file, as a PNG.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import mmengine
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.progress import track
from torch.utils.data import DataLoader

from mmdcn.analysis.swaps import build_loader, compare, load_dcn, swap_parser
from mmdcn.models import DCNClassifier, EntropySelector, MassSelector, TopKSelector
from mmdcn.models.saliency.measured import Measured
from mmdcn.models.selectors.adaptive import AdaptiveSelector
from mmdcn.utils.build import read_config
from mmdcn.utils.table import print_table
from mmdcn.visualization.pictures import new_chart, save

FIGURES = {
    'error': 'error, %',
    'patches': 'patches an image',
    'multiplications': 'multiplications an image, millions',
}
# The most patches an image, and from how many times the threshold on it gets them; chosen by the
# error on images of `val` with other clutter, for averages from 1 to 8 alike. Larger averages
# have twice themselves as the most.
MOST, GROWTH = 16, 50
MOST_AT_ONCE = 12
STEPS = 50  # of a bisection
MARKERS = 'osD^'


class Rule(NamedTuple):
    """A family of adaptive selectors, one for each value of a threshold.

    Attributes:
        options: Threshold, average number of patches -> options of the selector.
        stingy: A threshold so far to one side that images get next to no patches.
        generous: One so far to the other that they get as many as can be.
    """

    selector: Callable[..., AdaptiveSelector]
    options: Callable[[float, int], dict]
    stingy: float
    generous: float


RULES = {
    'EntropySelector': Rule(
        EntropySelector,
        lambda t, average: dict(k=max(MOST, 2 * average), threshold=t, full_threshold=GROWTH * t),
        10.0,
        1e-9,
    ),
    'EntropySelector, all or nothing': Rule(
        EntropySelector,
        lambda t, average: dict(k=max(MOST_AT_ONCE, 2 * average), threshold=t),
        10.0,
        1e-9,
    ),
    'MassSelector': Rule(
        MassSelector, lambda s, average: dict(k=max(MOST, 2 * average), share=s), 1e-6, 1.0
    ),
}
FIXED = 'TopKSelector'


def parse_args() -> argparse.Namespace:
    parser = swap_parser(__doc__.splitlines()[0], 'budget_curve.json')
    parser.add_argument(
        '--average-k',
        type=int,
        nargs='+',
        default=[1, 2, 4, 6, 8],
        metavar='K',
        help='patches an image on average (default: 1 2 4 6 8)',
    )
    args = parser.parse_args()
    if min(args.average_k) < 1:
        parser.error(
            f'--average-k takes whole numbers from 1 on, got {" ".join(map(str, args.average_k))}.'
        )
    return args


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config)
    model = load_dcn(cfg, args.checkpoint)
    seen = look_coarsely(model, build_loader(cfg, 'val'))
    chosen = choose_options(seen, args.average_k)
    results = test_on(model, cfg, args.subset, seen, chosen, args.average_k)

    mmengine.dump(
        dict(config=args.config, checkpoint=args.checkpoint, subset=args.subset, results=results),
        args.out,
        indent=2,
    )
    plot = args.out.with_suffix('.png')
    save(draw(results), plot)
    columns = ['', *(f'average {k}' for k in args.average_k)]
    for figure, label in FIGURES.items():
        print_table(
            f'{label} ({args.subset})',
            columns,
            [
                [
                    name,
                    *(
                        f'{row[figure] * (1e-6 if figure == "multiplications" else 1):.2f}'
                        for row in rows
                    ),
                ]
                for name, rows in by_selector(results).items()
            ],
        )
    print_table(
        'Threshold or share for the config (val)',
        columns,
        [
            [
                name,
                *(
                    f'{options.get("threshold", options.get("share")):.3g}'
                    for options in (chosen[name, k] for k in args.average_k)
                ),
            ]
            for name in RULES
        ],
    )
    print(f'{args.out} and {plot} written.')


def look_coarsely(model: DCNClassifier, loader: DataLoader) -> Measured:
    """Saliency and entropy of all images of a loader, which is all that budgets depend on."""
    seen = []
    model.selector = TopKSelector(k=0)
    for batch in track(loader, description='Looking coarsely'):
        batch = model.data_preprocessor(batch)
        with torch.no_grad():
            glance = model.extract_feat(batch['inputs'], batch['data_samples'])
        seen.append(Measured(glance.saliency, glance.entropy))
    if seen[0].entropy is None:
        raise SystemExit(
            f'{type(model.saliency).__name__} does not work out the entropy, which '
            'EntropySelector reads: take a config with EntropyGradient.'
        )
    return Measured(*map(torch.cat, zip(*seen)))


def choose_options(seen: Measured, averages: Sequence[int]) -> dict[tuple, dict]:
    """(rule, average number of patches) -> options that come closest to it from below."""
    return {
        (name, average): choose(rule, seen, average)
        for name, rule in RULES.items()
        for average in averages
    }


def choose(rule: Rule, seen: Measured, average: int) -> dict:
    """Bisect a rule's threshold."""
    stingy, generous = rule.stingy, rule.generous
    for _ in range(STEPS):
        middle = (stingy * generous) ** 0.5
        budgets = rule.selector(**rule.options(middle, average)).budgets(*seen)
        if budgets.double().mean() > average:
            generous = middle
        else:
            stingy = middle
    return rule.options(stingy, average)


def test_on(
    model: DCNClassifier,
    cfg: Config,
    subset: str,
    seen: Measured,
    chosen: dict[tuple, dict],
    averages: Sequence[int],
) -> list[dict]:
    """Test all selectors on images that had no part in the choice of their options.

    Returns:
        list: A dict for each selector and average, with ``selector``, ``average_k``,
        ``options_for_config``, which are chosen on all of ``val``, and what :func:`compare` finds.
    """
    if subset == 'val':
        # Drawn: MNIST's digits alternate between two origins, so every other one is no fair half.
        halves = torch.randperm(
            len(seen.entropy), generator=torch.Generator().manual_seed(0)
        ).chunk(2)
        folds = [
            (half.tolist(), choose_options(Measured(*(v[other] for v in seen)), averages))
            for half, other in zip(halves, halves[::-1])
        ]
    else:
        folds = [(None, chosen)]
    results: dict[tuple, dict] = {}
    for indices, options in folds:
        loader = build_loader(cfg, subset, indices)
        swaps = {(FIXED, k): dict(selector=TopKSelector(k=k)) for k in averages}
        swaps.update(
            {
                (name, k): dict(selector=RULES[name].selector(**found))
                for (name, k), found in options.items()
            }
        )
        for key, found in compare(model, loader, swaps).items():
            results.setdefault(key, []).append((len(loader.dataset), found))
    return [
        dict(
            selector=name,
            average_k=k,
            options_for_config=chosen.get((name, k), dict(k=k)),
            **weighted_mean(found),
        )
        for (name, k), found in results.items()
    ]


def weighted_mean(results: Sequence[tuple]) -> dict:
    """Of dicts with the same keys, each with its weight before it."""
    total = sum(weight for weight, _ in results)
    return {
        key: sum(weight * found[key] for weight, found in results) / total for key in results[0][1]
    }


def by_selector(results: list[dict]) -> dict[str, list[dict]]:
    rows: dict[str, list[dict]] = {}
    for result in results:
        rows.setdefault(result['selector'], []).append(result)
    return rows


def draw(results: list[dict]) -> Figure:
    """Error over average patches and multiplications, a line a selector and a point an average."""
    figure, axes = new_chart(xlabel=FIGURES['patches'], ylabel=FIGURES['error'])
    for (name, rows), marker in zip(by_selector(results).items(), MARKERS):
        axes.plot(
            [row['patches'] for row in rows],
            [row['error'] for row in rows],
            marker=marker,
            label=name,
        )
    axes.set_ylim(0, None)
    axes.legend()
    fewest, most = (pick(results, key=lambda row: row['patches']) for pick in (min, max))
    if most['patches'] > fewest['patches']:  # each patch costs the same
        patch = (most['multiplications'] - fewest['multiplications']) / (
            most['patches'] - fewest['patches']
        )
        rest = most['multiplications'] - most['patches'] * patch
        axes.secondary_xaxis(
            'top',
            functions=(
                lambda patches: (rest + patches * patch) / 1e6,
                lambda millions: (millions * 1e6 - rest) / patch,
            ),
        ).set_xlabel(FIGURES['multiplications'])
    return figure


if __name__ == '__main__':
    main()
