"""Figures of matplotlib: how charts look, and how figures become files and pixels."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.visualization.utils import img_from_canvas

DPI = 150


def new_chart(**labels) -> tuple[Figure, Axes]:
    """An empty chart with a grid, in colours that readers with any colour vision tell apart.

    Args:
        **labels: ``xlabel``, ``ylabel`` and whatever else ``Axes.set`` takes.
    """
    with style.context('tableau-colorblind10'):
        figure = Figure(figsize=(7, 4.5), layout='constrained')
        axes = figure.subplots()
    axes.set(**labels)
    axes.grid(alpha=0.3)
    return figure, axes


def picture(text: str) -> Path:
    """A command line's path of a picture to write.

    Raises:
        argparse.ArgumentTypeError: No figure is written in the format that its suffix names.
    """
    path = Path(text)
    known = FigureCanvasAgg(Figure()).get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise argparse.ArgumentTypeError(
            f'{text} is no picture to write: end its name in .png, .pdf or .svg.'
        )
    return path


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's suffix names; all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'{path.stem}.unfinished{path.suffix}')
    try:
        figure.savefig(unfinished, dpi=DPI)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def to_array(figure: Figure, dpi: int = DPI) -> np.ndarray:
    """Pixels of a figure at ``dpi`` dots an inch, (H, W, 3) uint8 RGB."""
    figure.set_dpi(dpi)
    return img_from_canvas(FigureCanvasAgg(figure))
