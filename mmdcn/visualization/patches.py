"""Draw over images where a DCN looked."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmpretrain.structures import DataSample

from mmdcn.models.contracts import Grid
from mmdcn.models.heads.sequence_head import number_of
from mmdcn.structures import full_size

from .pictures import drawable

PANELS_A_ROW = 4
PANEL_INCHES = 2.4  # a panel's width
TITLE_INCHES = 0.3
LEAST_ASPECT, MOST_ASPECT = 0.3, 2.0  # limits of a panel's height over width; the image fits in
BOX_COLOUR = '#35d0ff'
# Blue and vermillion, which readers with any colour vision tell apart (Okabe and Ito).
RIGHT, WRONG = '#0072b2', '#d55e00'


class Title(NamedTuple):
    """The title above an image.

    Attributes:
        text: One line or more.
        right: Whether the prediction is right; None if the truth is unknown.
    """

    text: str
    right: bool | None = None


def draw_patches(
    images: Sequence[torch.Tensor],
    samples: Sequence[DataSample],
    patch_grid: Grid | None = None,
    titles: Sequence[Title] | None = None,
    columns: int = PANELS_A_ROW,
    classes: Sequence[str] | None = None,
) -> Figure:
    """Draw one panel per image: saliency as heat, patches as boxes, prediction and truth.

    Args:
        images: N images (1 or 3, H, W), not normalised, of any range and any sizes; or their
            overviews, if ``LoadOverview`` has loaded them.
        samples: N predictions. A prediction without saliency and patches, from another model than
            a ``DCNClassifier``, is drawn as image and title only.
        patch_grid: The grid of the DCN, which tells where a cell of the saliency map lies in the
            image. None for other models.
        titles: Titles of the images, instead of those from :func:`describe`.
        columns: The largest number of panels in a row.
        classes: Names of the classes for the titles. Without them, titles show class numbers.

    Returns:
        Figure: The figure, neither shown nor saved.
    """
    titles = [describe(sample, classes) for sample in samples] if titles is None else titles
    columns = min(len(samples), columns)
    rows = -(-len(samples) // columns)
    aspect = float(np.median([image.shape[-2] / image.shape[-1] for image in images]))
    height = PANEL_INCHES * min(max(aspect, LEAST_ASPECT), MOST_ASPECT)
    lines = max(title.text.count('\n') + 1 for title in titles)
    figure = Figure(
        figsize=(columns * PANEL_INCHES, rows * (height + lines * TITLE_INCHES)),
        layout='constrained',
    )
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels:
        panel.set_axis_off()
    for panel, image, sample, title in zip(panels, images, samples, titles, strict=False):
        _draw_panel(
            panel, image.float().cpu().numpy(), full_size(sample, image), sample, patch_grid
        )
        text, font = drawable(title.text)
        colour = {None: 'black', True: RIGHT, False: WRONG}[title.right]
        panel.set_title(text, fontproperties=font, fontsize=9, color=colour)
    return figure


def _draw_panel(
    panel: Axes,
    image: np.ndarray,
    size: tuple[int, int],
    sample: DataSample,
    patch_grid: Grid | None,
) -> None:
    height, width = size
    grey = image.mean(axis=0)
    panel.imshow(grey, cmap='gray', extent=(0, width, height, 0))
    if 'saliency' in sample and patch_grid is not None:
        saliency = sample.saliency.cpu().numpy()
        heat = saliency / max(saliency.max(), np.finfo(np.float32).tiny)
        panel.imshow(
            heat,
            cmap='inferno',
            alpha=0.75 * np.sqrt(heat),
            interpolation='nearest',
            vmin=0,
            vmax=1,
            extent=saliency_extent(patch_grid, saliency.shape),
        )
    for x1, y1, x2, y2 in sample.patch_bboxes.tolist() if 'patch_bboxes' in sample else ():
        panel.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=BOX_COLOUR, linewidth=0.9)
        )
    panel.set(xlim=(0, width), ylim=(height, 0))


def describe(sample: DataSample, classes: Sequence[str] | None = None) -> Title:
    """Return a title with the prediction and, if it is known, the truth."""
    predicted, true = (label_of(sample, which, classes) for which in ('pred', 'gt'))
    if true is None:
        return Title(f'predicted {predicted}')
    return Title(f'predicted {predicted}, true {true}', predicted == true)


def label_of(sample: DataSample, which: str, classes: Sequence[str] | None = None) -> str | None:
    """Return the predicted (``'pred'``) or true (``'gt'``) class or number, or None if missing."""
    if f'{which}_sequence' in sample:
        return number_of(sample.get(f'{which}_sequence'))
    if f'{which}_label' in sample:
        labels = sample.get(f'{which}_label').tolist()
        return ', '.join(str(label) if classes is None else classes[label] for label in labels)
    return None


def saliency_extent(patch_grid: Grid, grid: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the rectangle of the image that a saliency map of s1×s2 cells covers.

    Each cell is a rectangle of one stride around the centre of its patch.

    Returns:
        tuple: (left, right, bottom, top) in pixels, as matplotlib's ``extent``.
    """
    (top, bottom), (left, right) = (
        (offset + size / 2 - stride / 2, offset + size / 2 + stride * (cells - 0.5))
        for offset, size, stride, cells in zip(
            patch_grid.offset, patch_grid.size, patch_grid.stride, grid, strict=True
        )
    )
    return left, right, bottom, top
