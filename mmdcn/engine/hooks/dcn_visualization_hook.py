"""Draws where a DCN looks, during validation and testing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.structures import DataSample

from mmdcn.registry import HOOKS
from mmdcn.visualization.patches import draw_patches
from mmdcn.visualization.pictures import to_array


@HOOKS.register_module()
class DCNVisualizationHook(Hook):
    """Draws where a DCN looks, during validation and testing.

    Every ``interval``-th image goes to the runner's visualizer, and so to all of its backends
    (files, TensorBoard, ...), with saliency, patches, prediction and truth. The name of an image's
    picture stays the same, so a backend shows how the patches move from epoch to epoch. For a
    classifier without patches, such as the coarse or the fine model alone, the hook draws image,
    prediction and truth. With several views of an image (``--tta``), it draws the first view with
    the prediction from all views.

    Args:
        enable: Whether to draw. Off by default, as in MMPretrain's ``VisualizationHook``.
        interval: Draw every ``interval``-th image, starting with the first. If several processes
            share the images, only those of the first process count.

    Raises:
        ValueError: ``interval`` is less than 1.
    """

    priority = 'NORMAL'

    def __init__(self, *, enable: bool = False, interval: int = 5000):
        if interval < 1:
            raise ValueError(
                f'DCNVisualizationHook(interval=...) counts images and must be at '
                f'least 1, got {interval}.'
            )
        self.enable = enable
        self.interval = interval
        self._seen = 0  # images of the current loop

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count images."""
        self._seen = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin to count images."""
        self._seen = 0

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draw the batch's due images, with the epoch as step, or the iteration without epochs."""
        if self.enable:
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            self._draw(
                runner, data_batch, outputs, 'val', runner.epoch if by_epoch else runner.iter
            )

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draw the batch's due images."""
        if self.enable:
            self._draw(runner, data_batch, outputs, 'test', 0)

    @master_only
    def _draw(
        self,
        runner: Runner,
        data_batch: dict,
        outputs: Sequence[DataSample],
        subset: str,
        step: int,
    ) -> None:
        first = -self._seen % self.interval
        self._seen += len(outputs)
        if first >= len(outputs):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        images: Any = data_batch['inputs']
        if isinstance(model, BaseTTAModel):
            model, images = model.module, images[0]
        classes = (runner.visualizer.dataset_meta or {}).get('classes')
        for index in range(first, len(outputs), self.interval):
            figure = draw_patches(
                [images[index]], [outputs[index]], getattr(model, 'grid', None), classes=classes
            )
            name = f'{subset}_{_name(outputs[index], self._seen - len(outputs) + index)}'
            runner.visualizer.add_image(name, to_array(figure), step=step)


def _name(sample: DataSample, number: int) -> str:
    """Return the name of the image's file after that of its folder, or else its number."""
    path = sample.get('img_path')
    return '_'.join(Path(path).with_suffix('').parts[-2:]) if path else str(number)
