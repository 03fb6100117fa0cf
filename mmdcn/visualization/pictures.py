"""Create matplotlib charts in one style, and turn figures into files and pixels."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.visualization.utils import img_from_canvas

from mmdcn.utils.files import replacing

DPI = 150


def new_chart(**labels: Any) -> tuple[Figure, Axes]:
    """Create an empty chart with a grid and colours that suit any colour vision.

    Args:
        **labels: ``xlabel``, ``ylabel`` and other options of ``Axes.set``.
    """
    with style.context('tableau-colorblind10'):
        figure = Figure(figsize=(7, 4.5), layout='constrained')
        axes = figure.subplots()
    axes.set(**labels)
    axes.grid(alpha=0.3)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure, in the format of the path's suffix, completely or not at all."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI)


def to_array(figure: Figure, dpi: int = DPI) -> np.ndarray:
    """Return the pixels of a figure at ``dpi`` dots per inch, (H, W, 3) uint8 RGB."""
    figure.set_dpi(dpi)
    return img_from_canvas(FigureCanvasAgg(figure))
