"""Predictions for images of one's own."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmpretrain.apis import BaseInferencer
from mmpretrain.structures import DataSample
from rich.console import Console
from rich.progress import track

from mmdcn.deployment import BACKENDS, predictions
from mmdcn.models.fitting import input_channels
from mmdcn.models.heads.sequence_head import number_of
from mmdcn.structures import full_size, source_of
from mmdcn.utils.build import scope_of
from mmdcn.utils.checkpoint import load_weights, read_checkpoint
from mmdcn.visualization.patches import draw_patches
from mmdcn.visualization.pictures import save, to_array

from .images import ImageInput, ReadingPipeline, describe, list_images, picture_names
from .inference_cost import InferenceCost
from .model import get_model, list_models


class DCNInferencer(BaseInferencer):
    """Predicts what images show, where a DCN looked and how much it computed.

    It works with every classifier of this project, for classes or numbers: DCNs with a fixed or an
    adaptive number of patches, and coarse, fine and other ``ImageClassifier`` models. Images go
    through the test pipeline of the model's config. Images of equal size share a batch. Several
    threads may call one inferencer at once.

    Args:
        model: A name, config file, config or checkpoint, as for :func:`mmdcn.get_model`, or a
            model that this function returned.
        pretrained: A checkpoint file; or True for the known weights of the model; or False for
            untrained weights.
        device: Where the model runs. By default this is a GPU if there is one. A model that is
            already built stays on its device.
        classes: Names of the classes, instead of the dataset's.
        backend: What runs the model: ``'eager'`` torch; ``'compile'``, torch compiled for each
            shape of a batch; or ``'onnxruntime'``, with a session for each shape. All give the same
            answers. The first batch of each shape waits until the model is prepared for it.
        **kwargs: Settings of the model's config to change, such as ``selector=dict(k=12)``.

    Attributes:
        reads_in_part: Whether the test pipeline loads overviews, and patches are read from files.

    Raises:
        FileNotFoundError: A file is not there.
        ModuleNotFoundError: A package that the backend needs is not installed.
        TypeError: ``model`` is none of these kinds.
        ValueError: There is no such model, device or backend, no weights are known, the file is not
            a checkpoint of this model, or the backend cannot run the model.

    Example:
        >>> from mmdcn import DCNInferencer
        >>> result, = DCNInferencer('dcn-k8-hint')('demo/cluttered_mnist.png')
        >>> result['pred_label'], result['cost']['total']
        (7, 15939372)
    """

    visualize_kwargs = {'show', 'show_dir', 'wait_time'}

    def __init__(
        self,
        model: str | os.PathLike | Config | BaseModel,
        pretrained: bool | str | os.PathLike = True,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        backend: str = 'eager',
        **kwargs: Any,
    ) -> None:
        if backend not in ('eager', *BACKENDS):
            raise ValueError(f'backend is one of eager, {", ".join(BACKENDS)}, not {backend!r}.')
        if not isinstance(model, BaseModel):
            device = device or get_device()
            model = get_model(model, pretrained, **kwargs)
        elif not hasattr(model, '_config'):
            raise ValueError(
                f'This {type(model).__name__} does not know its config: build it with '
                'mmdcn.get_model.'
            )
        elif not isinstance(pretrained, bool) and pretrained is not None:
            checkpoint = read_checkpoint(pretrained)
            load_weights(model, checkpoint)
            model._dataset_meta = checkpoint.meta.get('dataset_meta') or model._dataset_meta
        try:
            model.to(device or next(model.parameters()).device)
        except (AssertionError, RuntimeError) as error:  # torch raises these for a bad device
            reason = str(error).splitlines()[0].rstrip('.')
            raise ValueError(f'The device {str(device)!r} cannot be used ({reason}).') from error
        super().__init__(model, pretrained=None)
        self.classes = classes or getattr(model, '_dataset_meta', {}).get('classes')
        self._cost = InferenceCost(model)
        self.reads_in_part = self.pipeline.reads_in_part
        if backend != 'eager' and self.reads_in_part:
            raise ValueError(
                f'backend={backend!r} takes whole images, but the test pipeline loads overviews, '
                'and patches are read from the files: leave the backend out, or load whole images.'
            )
        self._outputs: Any = None if backend == 'eager' else BACKENDS[backend](model)
        self._said_lost = False

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        return_datasamples: bool = False,
        batch_size: int = 1,
        **kwargs: Any,
    ) -> list[dict] | list[DataSample]:
        """Predict images.

        Args:
            inputs: One or several images, each a file or a uint8 array, (H, W) or (H, W, C) in
                BGR; or a folder, whose images are all taken, sorted by name.
            return_datasamples: Return MMPretrain's data samples, with everything that the model
                predicts.
            batch_size: Number of images in a batch.
            **kwargs: ``show`` (bool) shows each picture in a window for ``wait_time`` (float)
                seconds; 0 waits for a key. ``show_dir`` (str) is a folder that gets a picture of
                each image, named after its file or its place in ``inputs``.

        Returns:
            list: A dict for each image, with

            - ``img_path``, if the image is a file;
            - for classes: ``pred_label``, ``pred_score``, ``pred_scores`` (classes,), and
              ``pred_class`` if the classes have names;
            - for numbers: ``pred_sequence``, a string of digits; ``pred_score``, the probability
              that the whole number is right; ``length_scores`` (M,); and ``digit_scores`` (M, 11),
              whose last class means none;
            - for a DCN: ``patch_bboxes`` (k, 4), float32, (x1, y1, x2, y2) in pixels of the given
              image, the most salient first; ``patch_saliency`` (k,), float32, the saliency of
              their cells; and ``saliency`` (s1, s2). There are no ``patch_bboxes`` if the test
              pipeline does more than resize, pad, crop the centre and normalise;
            - ``cost``: the multiplications of this image, with ``parts`` by name and their
              ``total``.

            In a data sample, the patches are in pixels of the network's input.

        Raises:
            FileNotFoundError: A file is not there.
            TypeError: An input is neither a path nor an array.
            ValueError: An image cannot be read, is too small, or has the wrong number of channels
                for the network; an option is out of range; there is no display for pictures; or
                their folder cannot be made.
        """
        *_, visualize_kwargs, _ = self._dispatch_kwargs(**kwargs)
        if visualize_kwargs.get('show') and matplotlib.get_backend().lower() == 'agg':
            raise ValueError('show=True needs a display, and there is none here: use show_dir.')
        if visualize_kwargs.get('show_dir') is not None:
            _make_folder(visualize_kwargs['show_dir'])
        if batch_size < 1:
            raise ValueError(f'batch_size counts images and must be at least 1, got {batch_size}.')
        inputs = list_images(inputs, self.reads_in_part)
        names = picture_names(inputs)
        results: list = []
        batches: Any = track(
            range(0, len(inputs), batch_size),
            'Inference',
            # In a terminal, a bar takes over the output of the whole process.
            disable=len(inputs) == 1 or current_thread() is not main_thread(),
            console=Console(stderr=True),
            transient=True,
        )
        # A progress bar that an error leaves open would go on drawing itself.
        with closing(batches):
            for start in batches:
                batch = slice(start, start + batch_size)
                preds = [
                    pred
                    for data in self.preprocess(inputs[batch], batch_size)
                    for pred in self.forward(data)
                ]
                self.visualize(inputs[batch], preds, names=names[batch], **visualize_kwargs)
                results.extend(self.postprocess(preds, None, return_datasamples))
        return results

    def preprocess(self, inputs: Sequence[ImageInput], batch_size: int = 1) -> Iterator[list[dict]]:
        """Load images and send them through the test pipeline.

        Yields:
            list: Up to ``batch_size`` results of the pipeline, of any sizes.
        """
        yield from self._get_chunk_data(map(self.pipeline, inputs), batch_size)

    @torch.no_grad()
    def forward(self, inputs: list[dict]) -> list[DataSample]:
        """Predict the images from :meth:`preprocess`, in batches of equal size.

        Returns:
            list: Data samples on the CPU, in the same order, each with its ``cost``.
        """
        places = defaultdict(list)
        for place, data in enumerate(inputs):
            image, sample = data['inputs'], data['data_samples']
            in_part = source_of(sample) is not None
            places[image.shape, full_size(sample, image), in_part].append(place)
        samples = [None] * len(inputs)
        for together in places.values():
            batch = pseudo_collate([inputs[place] for place in together])  # copies nothing
            for place, sample in zip(together, self._predict(batch), strict=True):
                samples[place] = sample
        return samples

    def visualize(
        self,
        inputs: Sequence[ImageInput],
        preds: list[DataSample],
        show: bool = False,
        show_dir: str | os.PathLike | None = None,
        wait_time: float = 0,
        names: Sequence[str] | None = None,
    ) -> None:
        """Draw each input of the network with its saliency, patches and prediction.

        Args:
            inputs: Images.
            preds: Their predictions.
            show: Whether to show the pictures in a window.
            show_dir: Folder for pictures. It is created if needed.
            wait_time: Seconds that a window stays open; 0 waits for a key.
            names: Names of the pictures, without suffix.
        """
        if not show and show_dir is None:
            return
        patch_grid = getattr(self.model, 'grid', None)
        for input_, pred, name in zip(inputs, preds, names or picture_names(inputs), strict=True):
            figure = draw_patches(
                self.pipeline(input_)['inputs'].unsqueeze(0),
                [pred],
                patch_grid,
                classes=self.classes,
            )
            if show_dir is not None:
                save(figure, Path(show_dir, f'{name}.png'))
            if show:
                self._show(figure, name, wait_time)

    def postprocess(
        self, preds: list[DataSample], visualization: None = None, return_datasamples: bool = False
    ) -> list[dict] | list[DataSample]:
        """Turn predictions into what :meth:`__call__` returns."""
        return preds if return_datasamples else [self._result(pred) for pred in preds]

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """List names of models, as :func:`mmdcn.list_models` does."""
        return list_models(pattern)

    def _init_pipeline(self, cfg: Config) -> ReadingPipeline:
        dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})
        if 'pipeline' not in dataset:
            raise ValueError(
                f'The config {cfg.filename or ""} has no '
                'test_dataloader.dataset.pipeline, which images go through.'
            )
        channels = input_channels(self.model)
        if channels is None:
            raise ValueError(
                f'This {type(self.model).__name__} has no convolution, so the '
                'channels of its images are unknown.'
            )
        with scope_of(cfg):
            return ReadingPipeline(dataset.pipeline, channels)

    def _predict(self, batch: dict) -> list[DataSample]:
        """Predict images of one size."""
        raw = batch['inputs']
        batch = self.model.data_preprocessor(batch, False)
        samples = batch['data_samples']
        run = None if self._outputs is None else partial(self._run, raw)
        try:
            samples = self._cost.predict(batch['inputs'], samples, run)
        # Towers from outside of this project let torch raise the error for small images.
        except (ValueError, RuntimeError) as error:
            raise ValueError(f'{describe(samples[0])} cannot be classified: {error}') from error
        return [sample.cpu() for sample in samples]

    def _run(self, raw: list[torch.Tensor], data_samples: list[DataSample]) -> list[DataSample]:
        """Predict raw images, each (C, H, W) uint8, by the backend."""
        images = torch.stack(raw)
        if images.dtype != torch.uint8:
            raise ValueError(
                f'this backend takes uint8 images, and the test pipeline gives {images.dtype}.'
            )
        return predictions(self.model.head, self._outputs(images), data_samples)

    def _result(self, pred: DataSample) -> dict:
        result: dict[str, Any] = dict(img_path=str(pred.img_path)) if 'img_path' in pred else {}
        if 'pred_sequence' in pred:
            result.update(
                pred_sequence=number_of(pred.pred_sequence),
                pred_score=float(pred.pred_confidence),
                length_scores=pred.pred_length.numpy(),
                digit_scores=pred.pred_digits.numpy(),
            )
        else:
            label = int(pred.pred_label)
            result.update(
                pred_scores=pred.pred_score.numpy(),
                pred_label=label,
                pred_score=float(pred.pred_score[label]),
            )
            if self.classes is not None:
                if len(self.classes) != len(pred.pred_score):
                    raise ValueError(
                        f'The model tells {len(pred.pred_score)} classes apart, but '
                        f'{len(self.classes)} names are given as classes.'
                    )
                result['pred_class'] = self.classes[label]
        if 'patch_bboxes' in pred:
            if pred.placement.lost_in is None:
                result['patch_bboxes'] = pred.placement.in_image(pred.patch_bboxes.numpy())
            else:
                self._say_lost(pred.placement.lost_in)
            saliency = pred.saliency.numpy()
            result.update(patch_saliency=saliency.flatten()[pred.cells.numpy()], saliency=saliency)
        return dict(**result, cost=pred.cost)

    def _say_lost(self, transform: str) -> None:
        """Say once in the log why results lack the patches."""
        if self._said_lost:
            return
        self._said_lost = True
        print_log(
            f'Results have no patch_bboxes: how the {transform} of the test pipeline moves pixels '
            'is not known. Data samples have the patches, in pixels of the input.',
            logger='current',
            level=logging.WARNING,
        )

    def _show(self, figure: Figure, name: str, wait_time: float) -> None:
        if self.visualizer is None:
            from mmpretrain.visualization import UniversalVisualizer

            self.visualizer: Any = UniversalVisualizer()
        self.visualizer.show(to_array(figure), win_name=name, wait_time=wait_time)


def _make_folder(path: str | os.PathLike) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f'Pictures cannot be written into {path} ({error.strerror}): name '
            'another folder as show_dir.'
        ) from error
