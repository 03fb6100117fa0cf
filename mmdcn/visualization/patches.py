"""Where a DCN looked, drawn over the image."""
from typing import Optional, Sequence, Tuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmpretrain.structures import DataSample

from mmdcn.models.heads.sequence_head import number_of
from mmdcn.models.patches import PatchExtractor

PANELS_A_ROW = 4
PANEL_INCHES = 2.4
BOX_COLOUR = '#35d0ff'
RIGHT, WRONG = '#1a7f37', '#cf222e'


def draw_patches(images: torch.Tensor, samples: Sequence[DataSample],
                 extractor: Optional[PatchExtractor] = None) -> Figure:
    """Draw saliency as heat, patches as boxes, predicted and true label, an image a panel.

    A label is a class or a number; of another classifier than a DCN, image and label are drawn.

    Args:
        images: (N, 1 or 3, H, W), unnormalised, of any range.
        samples: N predictions; a true label is shown where there is one.
        extractor: Of a ``DCNClassifier``, where these are its predictions; says where a cell of
            the saliency map lies in the image.

    Returns:
        Figure: Not shown, not saved.
    """
    columns = min(len(samples), PANELS_A_ROW)
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(columns * PANEL_INCHES, rows * (PANEL_INCHES + .3)),
                    layout='constrained')
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels:
        panel.set_axis_off()
    for panel, image, sample in zip(panels, images.float().cpu().numpy(), samples):
        _draw_panel(panel, image, sample, extractor)
    return figure


def _draw_panel(panel, image: np.ndarray, sample: DataSample,
                extractor: Optional[PatchExtractor]) -> None:
    height, width = image.shape[-2:]
    grey = image.mean(axis=0)
    panel.imshow(grey, cmap='gray', extent=(0, width, height, 0))
    if extractor is not None:
        _draw_glance(panel, sample, extractor)
    panel.set(xlim=(0, width), ylim=(height, 0))
    predicted, true = label_of(sample, 'pred'), label_of(sample, 'gt')
    if true is None:
        panel.set_title(f'predicted {predicted}', fontsize=9)
    else:
        panel.set_title(f'predicted {predicted}, true {true}', fontsize=9,
                        color=RIGHT if predicted == true else WRONG)


def _draw_glance(panel, sample: DataSample, extractor: PatchExtractor) -> None:
    saliency = sample.saliency.cpu().numpy()
    heat = saliency / max(saliency.max(), np.finfo(np.float32).tiny)
    panel.imshow(heat, cmap='inferno', alpha=.75 * np.sqrt(heat), interpolation='nearest',
                 extent=saliency_extent(extractor, saliency.shape))
    for x1, y1, x2, y2 in sample.patch_bboxes.tolist():
        panel.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=BOX_COLOUR,
                                  linewidth=.9))


def label_of(sample: DataSample, which: str) -> Optional[str]:
    """The predicted (``'pred'``) or true (``'gt'``) class or number; None where there is none."""
    if f'{which}_sequence' in sample:
        return number_of(sample.get(f'{which}_sequence'))
    if f'{which}_label' in sample:
        return str(sample.get(f'{which}_label').item())
    return None


def saliency_extent(extractor: PatchExtractor,
                    grid: Tuple[int, int]) -> Tuple[float, float, float, float]:
    """Where a saliency map of s1×s2 cells lies over the image.

    Each cell is a rectangle of one stride around the centre of its patch.

    Returns:
        tuple: (left, right, bottom, top) in pixels, as matplotlib's ``extent``.
    """
    (top, bottom), (left, right) = (
        (offset + size / 2 - stride / 2, offset + size / 2 + stride * (cells - .5))
        for offset, size, stride, cells
        in zip(extractor.offset, extractor.size, extractor.stride, grid))
    return left, right, bottom, top
