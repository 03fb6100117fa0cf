r"""Draw the distance between coarse and fine vectors during training, one line per run.

    python tools/visualizations/hint_distance.py work_dirs/dcn-k8_... work_dirs/dcn-k8-hint_... \
        --out hint_distance.png

This draws the paper's Figure 2, with and without hints: the hint distance (eq. 6) on the chosen
cells, from the logs of the runs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config

from mmdcn.models import HintLoss
from mmdcn.registry import MODELS, class_of
from mmdcn.visualization.pictures import new_chart, save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import errors_as_messages, picture
from tools.output import names_of
from tools.reproduction.scalars import logs_of, read_scalars

KEY = 'hint_distance'


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'runs',
        nargs='+',
        type=Path,
        metavar='RUN',
        help="folder of a DCN's training run: its --work-dir",
    )
    parser.add_argument(
        '--out', type=picture, required=True, help='picture to write (.png, .pdf, .svg)'
    )
    args = parser.parse_args(argv)
    curves = {run: read_scalars(run, KEY) for run in args.runs}
    save(draw(curves), args.out)
    for name, curve in zip(names_of(args.runs), curves.values(), strict=True):
        last = max(curve)
        print(f'{name}: {curve[last]:.3g} after {last:,} iterations.')
    print(f'{args.out} written.')


def draw(curves: dict[Path, dict[int, float]]) -> Figure:
    """Draw the distances of each run over its iterations."""
    figure, axes = new_chart(
        xlabel='training iterations',
        ylabel=('squared distance of coarse and fine vectors\n(mean over the chosen cells)'),
    )
    for name, (run, curve) in zip(names_of(list(curves)), curves.items(), strict=True):
        axes.plot(list(curve), list(curve.values()), label=f'{name} ({hints_of(run)})')
    axes.set_ylim(0, None)
    axes.legend()
    return figure


def hints_of(run: Path) -> str:
    """Return a label that tells whether a run used hints, from the config that it logged."""
    cfg = Config.fromfile(logs_of(run)[-1].with_name('config.py'))
    losses = filter(None, cfg.model.get('losses', {}).values())
    hints = [loss for loss in losses if class_of(loss.type, MODELS) is HintLoss]
    weight = sum(loss.get('loss_weight', 0) for loss in hints)
    return f'hints, λ = {weight:g}' if weight else 'no hints'


if __name__ == '__main__':
    main()
