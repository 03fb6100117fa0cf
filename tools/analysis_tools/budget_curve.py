"""Compare a fixed number of patches with adaptive selectors: error against average cost.

    python tools/analysis_tools/budget_curve.py CONFIG CHECKPOINT --out work_dirs/budgets.json

The tool takes one trained DCN and swaps its selector at test time. For each average number of
patches, it chooses the thresholds of the adaptive selectors on `val`, without labels, and prints
them for use in a config. No image is tested with thresholds that it helped to choose: each of two
random halves of `val` is tested with the thresholds of the other half, and `test` with those of all
of `val`. A plot like the paper's Figure 3 (right) is saved beside the JSON file, as a PNG.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.progress import track
from torch.utils.data import DataLoader

from mmdcn.models import DCNClassifier, EntropySelector, MassSelector, TopKSelector
from mmdcn.models.selectors import AdaptiveSelector
from mmdcn.structures import Measured, Ragged
from mmdcn.utils.build import build_loader, read_config
from mmdcn.visualization.pictures import new_chart, save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import at_least, errors_as_messages
from tools.output import print_table, write_json
from tools.reproduction.swaps import ONE_SIZE, compare, load_dcn, swap_parser

FIGURES = {
    'error': 'error, %',
    'patches': 'patches per image',
    'multiplications': 'multiplications per image, millions',
}
# The largest number of patches per image, and full_threshold / threshold. Both were chosen by the
# error on images of `val` with other clutter, for all averages from 1 to 8. A DCN with a selector
# that adapts keeps its own largest number. For larger averages, it is twice the average.
MOST, GROWTH = 16, 50
MOST_AT_ONCE = 12
STEPS = 50  # steps of a bisection
MARKERS = 'osD^'


class Rule(NamedTuple):
    """A family of adaptive selectors, one for each value of a threshold.

    Attributes:
        options: Threshold, largest number of patches -> options of the selector.
        most: The largest number of patches for a DCN whose selector does not adapt.
        stingy: A threshold at which images get almost no patches.
        generous: A threshold at which images get the largest number of patches.
    """

    selector: Callable[..., AdaptiveSelector]
    options: Callable[[float, int], dict]
    most: int
    stingy: float
    generous: float


RULES = {
    'EntropySelector': Rule(
        EntropySelector,
        lambda t, most: dict(k=most, threshold=t, full_threshold=GROWTH * t),
        MOST,
        10.0,
        1e-9,
    ),
    'EntropySelector, all or nothing': Rule(
        EntropySelector, lambda t, most: dict(k=most, threshold=t), MOST_AT_ONCE, 10.0, 1e-9
    ),
    'MassSelector': Rule(MassSelector, lambda s, most: dict(k=most, share=s), MOST, 1e-6, 1.0),
}
FIXED = 'TopKSelector'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = swap_parser(__doc__.splitlines()[0], 'budget_curve.json')
    parser.add_argument(
        '--average-k',
        type=at_least(1),
        nargs='+',
        default=[1, 2, 4, 6, 8],
        metavar='K',
        help='average numbers of patches per image (default: 1 2 4 6 8)',
    )
    return parser.parse_args(argv)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = read_config(args.config)
    model = load_dcn(cfg, args.checkpoint)
    most = model.selector.k if model.selector.adaptive else None
    seen = look_coarsely(model, build_loader(cfg, 'val'))
    chosen = choose_options(seen, args.average_k, most)
    results = test_on(model, cfg, args.subset, seen, chosen, args.average_k, most)

    write_json(
        args.out,
        dict(config=args.config, checkpoint=args.checkpoint, subset=args.subset, results=results),
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
    """Compute the saliency and entropy of all images, which determine the budgets."""
    if not model.saliency.gives_entropy:
        raise ValueError(
            f'{type(model.saliency).__name__} does not compute the entropy, which '
            'EntropySelector reads: take a config with EntropyGradient.'
        )
    seen = []
    model.selector = TopKSelector(k=0)
    for batch in track(loader, description='Looking coarsely'):
        batch = model.data_preprocessor(batch)
        with torch.no_grad():
            glance = model.extract_feat(batch['inputs'], batch['data_samples'])
        if isinstance(glance.saliency, Ragged) or (
            seen and glance.saliency.shape[1:] != seen[0].saliency.shape[1:]
        ):
            raise ValueError(ONE_SIZE)
        seen.append(Measured(glance.saliency, glance.entropy))
    saliencies, entropies, _ = zip(*seen, strict=True)
    return Measured(torch.cat(saliencies), torch.cat(entropies))


def choose_options(seen: Measured, averages: Sequence[int], most: int | None) -> dict[tuple, dict]:
    """Map (rule, average number of patches) to options that come closest to it from below.

    Args:
        seen: Saliency and entropy of the images.
        averages: Average numbers of patches.
        most: The largest number of patches of an image; None for each rule's own.
    """
    return {
        (name, average): choose(rule, seen, average, max(most or rule.most, 2 * average))
        for name, rule in RULES.items()
        for average in averages
    }


def choose(rule: Rule, seen: Measured, average: int, most: int) -> dict:
    """Choose the options of a rule by bisecting its threshold."""
    stingy, generous = rule.stingy, rule.generous
    for _ in range(STEPS):
        middle = (stingy * generous) ** 0.5
        budgets = rule.selector(**rule.options(middle, most)).budgets(seen)
        if budgets.double().mean() > average:
            generous = middle
        else:
            stingy = middle
    return rule.options(stingy, most)


def test_on(
    model: DCNClassifier,
    cfg: Config,
    subset: str,
    seen: Measured,
    chosen: dict[tuple, dict],
    averages: Sequence[int],
    most: int | None,
) -> list[dict]:
    """Test all selectors on images that were not used to choose their options.

    Returns:
        list: A dict for each selector and average, with ``selector``, ``average_k``, the results of
        :func:`compare`, and ``options_for_config``, which were chosen on all of ``val``.
    """
    if subset == 'val':
        # The halves are random: MNIST's digits alternate between two origins, so every second
        # image would be a biased half.
        halves = torch.randperm(
            len(seen.entropy), generator=torch.Generator().manual_seed(0)
        ).chunk(2)
        folds = [
            (
                half.tolist(),
                choose_options(Measured(seen.saliency[other], seen.entropy[other]), averages, most),
            )
            for half, other in zip(halves, halves[::-1], strict=True)
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
    """Average dicts with the same keys: (weight, dict) pairs -> dict."""
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
    """Draw the error over patches and multiplications: a line per selector, a point per average."""
    figure, axes = new_chart(xlabel=FIGURES['patches'], ylabel=FIGURES['error'])
    for (name, rows), marker in zip(by_selector(results).items(), MARKERS, strict=False):
        axes.plot(
            [row['patches'] for row in rows],
            [row['error'] for row in rows],
            marker=marker,
            label=name,
        )
    axes.set_ylim(0, None)
    axes.legend()
    fewest, most = (pick(results, key=lambda row: row['patches']) for pick in (min, max))
    if most['patches'] > fewest['patches']:  # every patch costs the same
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
