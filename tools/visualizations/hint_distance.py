"""Draw how far coarse and fine vectors are apart during training, a line a run.

    python tools/visualizations/hint_distance.py work_dirs/dcn-k8_... work_dirs/dcn-k8-hint_... \\
        --out hint_distance.png

The paper's Figure 2, with and without hints: the hint distance (eq. 6) on the chosen cells, as the
runs logged it.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config

from mmdcn.utils.scalars import logs_of, read_scalars
from mmdcn.utils.table import names_of
from mmdcn.visualization.pictures import new_chart, picture, save

KEY = 'hint_distance'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'runs',
        nargs='+',
        type=Path,
        metavar='RUN',
        help="folder of a DCN's training run: its --work-dir",
    )
    parser.add_argument('--out', type=picture, required=True, help='picture (.png, .pdf, .svg)')
    args = parser.parse_args()
    try:
        curves = {run: read_scalars(run, KEY) for run in args.runs}
    except ValueError as error:
        raise SystemExit(str(error)) from error
    save(draw(curves), args.out)
    for name, curve in zip(names_of(args.runs), curves.values()):
        last = max(curve)
        print(f'{name}: {curve[last]:.3g} after {last:,} iterations.')
    print(f'{args.out} written.')


def draw(curves: dict[Path, dict[int, float]]) -> Figure:
    """Run -> iteration -> distance."""
    figure, axes = new_chart(
        xlabel='training iterations',
        ylabel=('squared distance of coarse and fine vectors\n(mean over the chosen cells)'),
    )
    for name, (run, curve) in zip(names_of(list(curves)), curves.items()):
        axes.plot(list(curve), list(curve.values()), label=f'{name} ({hints_of(run)})')
    axes.set_ylim(0, None)
    axes.legend()
    return figure


def hints_of(run: Path) -> str:
    """Whether a run trained with hints, by the config that it logged."""
    cfg = Config.fromfile(logs_of(run)[-1].with_name('config.py'))
    weight = cfg.model.get('hint', {}).get('loss_weight', 0)
    return f'hints, λ = {weight:g}' if weight else 'no hints'


if __name__ == '__main__':
    main()
