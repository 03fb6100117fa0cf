import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Union

import matplotlib
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.apis import BaseInferencer
from mmpretrain.structures import DataSample
from PIL import Image
from rich.console import Console
from rich.progress import track

from mmdcn.analysis.cost import counting, multiplications_by_part
from mmdcn.models.heads.sequence_head import number_of
from mmdcn.models.patches.probe import input_channels
from mmdcn.models.selectors.adaptive import AdaptiveSelector
from mmdcn.models.selectors.top_k import TopKSelector
from mmdcn.registry import TRANSFORMS
from mmdcn.utils.checkpoint import load_weights, read_checkpoint
from mmdcn.visualization.patches import draw_patches
from mmdcn.visualization.pictures import save, to_array

from .model import get_model, list_models, scope_of

ImageInput = Union[str, os.PathLike, np.ndarray]


class DCNInferencer(BaseInferencer):
    """Tells what is on images, where a DCN looked and what that cost.

    Takes every classifier of this project: DCNs, with as many patches for each image or with
    budgets, and coarse, fine and other ``ImageClassifier`` s, for classes or numbers. Images go
    through the test pipeline of the model's config; those of one size share a batch.

    Args:
        model: A name, config file, config or checkpoint, as :func:`mmdcn.get_model` takes it, or
            a model that it gave.
        pretrained: A checkpoint file; or True for the weights that are known of the model; or
            False for those of initialisation.
        device: Where the model runs; by default on a GPU where there is one. A model that is
            already built stays where it is.
        classes: Names of the classes, in place of the dataset's.
        **kwargs: Settings of the model's config to change, such as ``selector=dict(k=12)``.

    Raises:
        FileNotFoundError: A file is not there.
        TypeError: ``model`` is nothing of that kind.
        ValueError: There is no such model or device, no weights are known, or a checkpoint is
            none or of another model.

    Example:
        >>> from mmdcn import DCNInferencer
        >>> result, = DCNInferencer('dcn-k8-hint')('demo/cluttered_mnist.png')
        >>> result['pred_label'], result['cost']['total']
        (7, 19330860)
    """

    visualize_kwargs = {'show', 'show_dir', 'wait_time'}

    def __init__(
        self,
        model: str | os.PathLike | Config | BaseModel,
        pretrained: bool | str | os.PathLike = True,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        **kwargs,
    ):
        if not isinstance(model, BaseModel):
            device = device or get_device()
            model = get_model(model, pretrained, **kwargs)
        elif not hasattr(model, '_config'):
            raise ValueError(
                f'This {type(model).__name__} does not know its config: build it with '
                'mmdcn.get_model.'
            )
        elif not isinstance(pretrained, bool) and pretrained is not None:
            load_weights(model, read_checkpoint(pretrained))
        try:
            model.to(device or next(model.parameters()).device)
        except (AssertionError, RuntimeError) as error:  # what torch answers of devices
            reason = str(error).splitlines()[0].rstrip('.')
            raise ValueError(f'The device {str(device)!r} cannot be used ({reason}).') from error
        super().__init__(model, pretrained=None)
        self.classes = classes or getattr(model, '_dataset_meta', {}).get('classes')
        self._costs: dict[tuple, dict[str, int]] = {}

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        return_datasamples: bool = False,
        batch_size: int = 1,
        **kwargs,
    ) -> list[dict] | list[DataSample]:
        """Predict.

        Args:
            inputs: An image or several, each a file or an array (H, W) or (H, W, C) uint8,
                BGR where there is colour; or a folder, of which all images are taken, by name.
            return_datasamples: Give MMPretrain's data samples, with all that the model says.
            batch_size: Images at a time.
            show (bool): Show each picture in a window.
            wait_time (float): For how many seconds; 0 waits for a key.
            show_dir (str): Write a picture of each image there, named after its file, or its
                place in ``inputs``.

        Returns:
            list: Of each image a dict with

            - ``img_path``, of a file;
            - ``pred_label``, ``pred_score``, ``pred_scores`` (classes,) and ``pred_class`` where
              the classes have names; or ``pred_sequence``, a string of digits, ``pred_score``,
              the probability that all of it is right, ``length_scores`` (M,) and ``digit_scores``
              (M, 11), whose last class is none;
            - of a DCN, ``patch_bboxes`` (k, 4), float32, (x1, y1, x2, y2) in pixels of the image
              as given, the most salient first, and ``saliency`` (s1, s2);
            - ``cost``: the multiplications of this image, ``parts`` by name and their ``total``.

            A data sample has the patches in pixels of the network's input.

        Raises:
            FileNotFoundError: A file is not there.
            TypeError: An input is neither a path nor an array.
            ValueError: An image cannot be read, has other channels than the network or is too
                small for it; an option is out of range; there is no display to show pictures on,
                or no folder can be made for them.
        """
        *_, visualize_kwargs, _ = self._dispatch_kwargs(**kwargs)
        if visualize_kwargs.get('show') and matplotlib.get_backend().lower() == 'agg':
            raise ValueError('show=True needs a display, and there is none here: use show_dir.')
        if visualize_kwargs.get('show_dir') is not None:
            _make_folder(visualize_kwargs['show_dir'])
        if batch_size < 1:
            raise ValueError(f'batch_size counts images and must be at least 1, got {batch_size}.')
        inputs = self._inputs_to_list(inputs)
        names = _picture_names(inputs)
        results = []
        batches = track(
            range(0, len(inputs), batch_size),
            'Inference',
            disable=len(inputs) == 1,
            console=Console(stderr=True),
            transient=True,
        )
        # A bar that an error leaves open would go on drawing itself.
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
            list: Up to ``batch_size`` of its results, of whatever sizes.
        """
        yield from self._get_chunk_data(map(self.pipeline, inputs), batch_size)

    @torch.no_grad()
    def forward(self, inputs: list[dict]) -> list[DataSample]:
        """Predict what :meth:`preprocess` gave, images of one size at a time.

        Returns:
            list: Data samples on the CPU, in the same order, each with its ``cost``.
        """
        places = defaultdict(list)
        for place, data in enumerate(inputs):
            places[data['inputs'].shape].append(place)
        samples = [None] * len(inputs)
        for together in places.values():
            batch = pseudo_collate([inputs[place] for place in together])  # copies nothing
            for place, sample in zip(together, self._predict(batch)):
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
        """Draw each image as the network got it: saliency, patches and prediction.

        Args:
            inputs: Images.
            preds: Their predictions.
            show: In a window.
            show_dir: Folder for pictures; is made.
            wait_time: Seconds that a window waits for; 0 waits for a key.
            names: Of the pictures, without suffix.
        """
        if not show and show_dir is None:
            return
        extractor = getattr(self.model, 'patch_extractor', None)
        for input_, pred, name in zip(inputs, preds, names or _picture_names(inputs)):
            figure = draw_patches(
                self.pipeline(input_)['inputs'].unsqueeze(0),
                [pred],
                extractor,
                classes=self.classes,
            )
            if show_dir is not None:
                save(figure, Path(show_dir, f'{name}.png'))
            if show:
                self._show(figure, name, wait_time)

    def postprocess(
        self, preds: list[DataSample], visualization: None = None, return_datasamples: bool = False
    ) -> list[dict] | list[DataSample]:
        """What :meth:`__call__` returns."""
        return preds if return_datasamples else [self._result(pred) for pred in preds]

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """As :func:`mmdcn.list_models`."""
        return list_models(pattern)

    def _init_pipeline(self, cfg: Config) -> Callable:
        dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})
        if 'pipeline' not in dataset:
            raise ValueError(
                f'The config {cfg.filename or ""} has no '
                'test_dataloader.dataset.pipeline, which images go through.'
            )
        self._channels = input_channels(self.model)
        if self._channels is None:
            raise ValueError(
                f'This {type(self.model).__name__} has no convolution, so the '
                'channels of its images are unknown.'
            )
        loaders = [step for step in dataset.pipeline if _is_loader(step)]
        if not loaders:  # of a dataset that makes or holds its images
            grey = self._channels == 1
            loaders = [dict(type='mmdcn.LoadGrayscale' if grey else 'LoadImageFromFile')]
        with DefaultScope.overwrite_default_scope(scope_of(cfg)):
            self._load_file = TRANSFORMS.build(loaders[0])
            steps = [TRANSFORMS.build(step) for step in dataset.pipeline if not _is_loader(step)]
        return Compose([self._load, *steps, self._check])

    def _inputs_to_list(self, inputs) -> list:
        if isinstance(inputs, (str, os.PathLike)) and os.path.isdir(inputs):
            return _images_in(Path(inputs))
        inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        for input_ in inputs:
            if not isinstance(input_, (str, os.PathLike, np.ndarray)):
                raise TypeError(
                    f'An image is a path or a numpy array, got {type(input_).__name__}.'
                )
            if not isinstance(input_, np.ndarray) and not os.path.isfile(input_):
                wrong = 'is a folder; pass it alone' if os.path.isdir(input_) else 'is not there'
                raise FileNotFoundError(f'The image {input_} {wrong}.')
        return [
            input_ if isinstance(input_, np.ndarray) else os.fspath(input_) for input_ in inputs
        ]

    def _load(self, input_: str | np.ndarray) -> dict:
        if isinstance(input_, np.ndarray):
            image = self._checked(input_)
            return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        try:
            data = self._load_file(dict(img_path=input_))
        except (FileNotFoundError, ValueError):
            raise
        # Decoders answer broken bytes with many types of error.
        except Exception as error:
            raise ValueError(
                f'The image {input_} cannot be read ({str(error) or type(error).__name__}).'
            ) from error
        channels = 1 if data['img'].ndim == 2 else data['img'].shape[2]
        if channels != self._channels:
            raise ValueError(
                f'The network takes images of {self._channels} channel(s), but its '
                f"config's pipeline loads {input_} with {channels}: change the loader "
                'in test_dataloader.dataset.pipeline.'
            )
        return data

    def _checked(self, array: np.ndarray) -> np.ndarray:
        """An array as a loader would give it; (H, W, 1) becomes (H, W)."""
        given = '×'.join(map(str, array.shape)) or 'a scalar'
        if array.ndim not in (2, 3) or array.size == 0:
            raise ValueError(
                f'An array must be one image of (H, W) or (H, W, C), got {given}; '
                'pass several as a list.'
            )
        if array.dtype != np.uint8:
            raise ValueError(f'An array must hold uint8, 0 to 255, got {array.dtype}.')
        channels = 1 if array.ndim == 2 else array.shape[2]
        if channels != self._channels:
            raise ValueError(
                f'The network takes images of {self._channels} channel(s), got an array of {given}.'
            )
        return np.ascontiguousarray(array[..., 0] if array.ndim == 3 and channels == 1 else array)

    def _check(self, data: dict) -> dict:
        """Stop what no memory would hold, as PIL does with files."""
        height, width = data['inputs'].shape[-2:]
        if Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS:
            raise ValueError(
                f'{_name(data["data_samples"])} becomes an input of {height}×{width} pixels, more '
                f'than {Image.MAX_IMAGE_PIXELS}: crop it, or raise PIL.Image.MAX_IMAGE_PIXELS.'
            )
        return data

    def _predict(self, batch: dict) -> list[DataSample]:
        """Predict images of one size, and count."""
        batch = self.model.data_preprocessor(batch, False)
        images, samples = batch['inputs'], batch['data_samples']
        shape = tuple(images.shape[1:])
        adaptive = isinstance(getattr(self.model, 'selector', None), AdaptiveSelector)
        try:
            if adaptive or shape in self._costs:
                samples = self.model(images, samples, mode='predict')
            else:
                with counting(self.model) as parts:
                    samples = self.model(images, samples, mode='predict')
                self._costs[shape] = {part: of_all // len(images) for part, of_all in parts.items()}
        # Towers that are not of this project leave it to torch to say what is too small.
        except (ValueError, RuntimeError) as error:
            raise ValueError(f'{_name(samples[0])} cannot be classified: {error}') from error
        for image, sample in zip(images, samples):
            parts = (
                self._cost_of_budget(image, len(sample.cells)) if adaptive else (self._costs[shape])
            )
            sample.set_field(
                dict(parts=dict(parts), total=sum(parts.values())), 'cost', field_type='metainfo'
            )
        return [sample.cpu() for sample in samples]

    def _cost_of_budget(self, image: torch.Tensor, patches: int) -> dict[str, int]:
        """What an image costs that got so many patches."""
        key = (*image.shape, patches)
        if key not in self._costs:
            selector = self.model.selector
            self.model.selector = TopKSelector(k=patches)
            try:
                self._costs[key] = multiplications_by_part(self.model, image.unsqueeze(0))
            finally:
                self.model.selector = selector
        return self._costs[key]

    def _result(self, pred: DataSample) -> dict:
        result = dict(img_path=pred.img_path) if 'img_path' in pred else {}
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
            result.update(patch_bboxes=_in_image(pred), saliency=pred.saliency.numpy())
        return dict(**result, cost=pred.cost)

    def _show(self, figure, name: str, wait_time: float) -> None:
        if self.visualizer is None:
            from mmpretrain.visualization import UniversalVisualizer

            self.visualizer = UniversalVisualizer()
        self.visualizer.show(to_array(figure), win_name=name, wait_time=wait_time)


def _make_folder(path: str | os.PathLike) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f'Pictures cannot be written into {path} ({error.strerror}): name '
            'another folder as show_dir.'
        ) from error


def _is_loader(step: dict) -> bool:
    return str(step['type']).rpartition('.')[2].startswith('Load')


def _images_in(folder: Path) -> list[str]:
    suffixes = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    }  # some, such as PDF, are written only
    images = sorted(
        str(path) for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file()
    )
    if not images:
        raise ValueError(f'The folder {folder} holds no images; folders in it are not searched.')
    return images


def _picture_names(inputs: Sequence[ImageInput]) -> list[str]:
    """Names after files or places, each once."""
    names, taken = [], set()
    for place, input_ in enumerate(inputs):
        stem = str(place) if isinstance(input_, np.ndarray) else Path(input_).stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f'{stem}-{number}'
        taken.add(name)
        names.append(name)
    return names


def _name(sample: DataSample) -> str:
    height, width = sample.ori_shape[:2]
    if 'img_path' in sample:
        return f'The image {sample.img_path} of {height}×{width} pixels'
    return f'An array of {height}×{width} pixels'


def _in_image(pred: DataSample) -> np.ndarray:
    """Patches in pixels of the image, of which the network's input is a scaled copy."""
    across, down = pred.get('scale_factor', (1.0, 1.0))
    scaled = [length * factor for length, factor in zip(pred.ori_shape, (down, across))]
    if any(abs(now - length) > 1 for now, length in zip(pred.img_shape, scaled)):
        raise ValueError(
            'The test pipeline does more than scale images, so patches have no place '
            'in the image as given: use return_datasamples=True.'
        )
    return (pred.patch_bboxes.numpy() / np.tile([across, down], 2)).astype(np.float32)
