"""Create matplotlib charts in one style, and turn figures into files and pixels."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
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


def drawable(text: str) -> tuple[str, FontProperties]:
    r"""Return a text that matplotlib can draw, and a font that has its characters.

    If no font on this machine has them all, those that the usual font lacks become escapes, such as
    ``\u732b``. Dollars are drawn, so they enclose no formula.
    """
    needed = frozenset(map(ord, text)) - {ord('\n')}
    usual = font_manager.findfont(FontProperties())
    path = usual if needed <= _characters(usual) else _font_with(needed)
    if path is None:
        lacking = needed - _characters(usual)
        text = text.translate({code: ascii(chr(code))[1:-1] for code in lacking})
    return text.replace('$', r'\$'), FontProperties(fname=path or usual)


@lru_cache
def _font_with(codes: frozenset[int]) -> str | None:
    fonts = sorted(
        font_manager.fontManager.ttflist,
        key=lambda font: (font.style != 'normal', font.weight not in (400, 'normal'), font.name),
    )
    for font in fonts:
        # A font of last resort draws one box or another for every character.
        if 'last resort' not in font.name.lower() and codes <= _characters(font.fname):
            return font.fname
    return None


@lru_cache
def _characters(path: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(path).get_charmap())


def save(figure: Figure, path: Path) -> None:
    """Write a figure, in the format of the path's suffix, completely or not at all."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI)


def to_array(figure: Figure, dpi: int = DPI) -> np.ndarray:
    """Return the pixels of a figure at ``dpi`` dots per inch, (H, W, 3) uint8 RGB."""
    figure.set_dpi(dpi)
    return img_from_canvas(FigureCanvasAgg(figure))
