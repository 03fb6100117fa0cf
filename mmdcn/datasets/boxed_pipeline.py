"""Pipelines that keep true boxes on their objects."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from mmengine.dataset import Compose
from mmpretrain.structures import DataSample

# Transforms of other packages after which boxes are right: they move boxes or move no pixels.
_KEEP_BOXES = dict(
    mmcv='CenterCrop ImageToTensor LoadImageFromFile Normalize Pad RandomFlip RandomGrayscale '
    'Resize ToTensor',
    mmpretrain='AutoContrast Brightness ColorJitter ColorTransform Contrast Cutout Equalize '
    'GaussianBlur Invert Lighting NumpyToPIL PILToNumpy PackInputs Posterize RandomErasing '
    'Sharpness Solarize SolarizeAdd',
    torchvision='ColorJitter ConvertImageDtype GaussianBlur Grayscale Normalize PILToTensor '
    'RandomAdjustSharpness RandomAutocontrast RandomEqualize RandomErasing RandomGrayscale '
    'RandomInvert RandomPosterize RandomSolarize ToPILImage ToTensor',
)
# Where transforms hold those that they run.
_INNER = dict(
    Compose='transforms',
    RandomApply='transforms',
    RandomChoice='transforms',
    RandomChoiceResize='resize',
    RandomResize='resize',
    TestTimeAug='subroutines',
    TorchVisonTransformWrapper='t',
)


class BoxedPipeline(Compose):
    """A pipeline for samples with ``gt_bboxes``, (n, 4) float32 arrays of (x1, y1, x2, y2).

    Boxes that are packed into a data sample become float32 tensors there. They must fit the image
    that is packed with them, so each transform must move boxes with the pixels or move no pixels.
    This is known of the transforms of mmcv, MMPretrain and torchvision. A class of your own says
    so by an attribute ``keeps_boxes = True``. Boxes are those of the image as shown, so a loader
    must turn it as its EXIF says.

    A dataset that gives boxes sets ``self.pipeline = BoxedPipeline(self.pipeline.transforms)``.

    Args:
        transforms: The built transforms.

    Raises:
        ValueError: A transform is not known to keep boxes right, and boxes are packed.
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        super().__init__(transforms)
        steps = list(steps_of(self.transforms))
        if any('gt_bboxes' in getattr(step, 'algorithm_keys', ()) for step in steps):
            for step in steps:
                if not _keeps_boxes(step):
                    raise ValueError(_refusal(step))

    def __call__(self, data: dict) -> dict | None:
        """Run all transforms."""
        packed = super().__call__(data)
        samples = (packed or {}).get('data_samples', [])
        for sample in [samples] if isinstance(samples, DataSample) else samples:
            if 'gt_bboxes' in sample:
                boxes = torch.as_tensor(sample.gt_bboxes, dtype=torch.float32)
                sample.set_field(boxes, 'gt_bboxes')
        return packed


def steps_of(transforms: Iterable) -> Iterator[Any]:
    """Yield each transform; in place of a wrapper, what it wraps."""
    for step in transforms:
        inner = getattr(step, _INNER.get(type(step).__name__, ''), None)
        if inner is None:
            yield step
        else:
            yield from steps_of(inner if isinstance(inner, list) else [inner])


def _keeps_boxes(step: Any) -> bool:
    if hasattr(step, 'imdecode_backend'):  # LoadImageFromFile, which may not turn an image
        return step.color_type in ('color', 'grayscale') and (
            step.imdecode_backend in ('cv2', 'pillow')
        )
    kind = type(step)
    known = _KEEP_BOXES.get(kind.__module__.partition('.')[0], '').split()
    return kind.__name__ in known or getattr(step, 'keeps_boxes', False)


def _refusal(step: Any) -> str:
    name = getattr(step, '__name__', type(step).__name__)
    if hasattr(step, 'imdecode_backend'):
        return (
            f'{name}(color_type={step.color_type!r}, imdecode_backend={step.imdecode_backend!r}) '
            'does not turn images as their EXIF says, but gt_bboxes are those of the turned '
            "image: choose 'color' or 'grayscale' and 'cv2' or 'pillow', or leave 'gt_bboxes' out "
            'of PackInputs(algorithm_keys=...).'
        )
    return (
        f"{name} is not known to move gt_bboxes with the pixels: leave 'gt_bboxes' out of "
        'PackInputs(algorithm_keys=...), use Resize, RandomFlip, CenterCrop or Pad instead, or set '
        'keeps_boxes = True on a class of your own that moves boxes or moves no pixels.'
    )
