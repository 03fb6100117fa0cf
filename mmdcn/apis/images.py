"""Read, check and name the images that users give: files, folders and arrays."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.structures import DataSample
from PIL import Image

from mmdcn.datasets.transforms.loading import beyond_the_limit
from mmdcn.datasets.transforms.overview import check_transforms
from mmdcn.registry import TRANSFORMS
from mmdcn.sources import SUFFIXES

from .placement import Placement, follow

ImageInput = str | os.PathLike | np.ndarray


def list_images(
    inputs: ImageInput | Sequence[ImageInput], in_part: bool = False
) -> list[ImageInput]:
    """List the images that a user gives, with arrays unchanged.

    Args:
        inputs: One or several images, each a path or an array; or a folder, whose images are all
            taken.
        in_part: Whether to take also the formats that only :mod:`mmdcn.sources` reads.

    Raises:
        FileNotFoundError: A file is not there.
        TypeError: An image is neither a path nor an array.
        ValueError: A folder holds no images.
    """
    if isinstance(inputs, (str, os.PathLike)) and os.path.isdir(inputs):
        return list(_images_in(Path(inputs), SUFFIXES if in_part else ()))
    images: list[Any] = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    return [image if isinstance(image, np.ndarray) else _existing(image) for image in images]


def picture_names(images: Sequence[ImageInput]) -> list[str]:
    """Return a different name for the picture of each image, from its file or its place."""
    names: dict[str, None] = {}
    for place, image in enumerate(images):
        stem = str(place) if isinstance(image, np.ndarray) else Path(image).stem
        name, number = stem, 1
        while name in names:
            number += 1
            name = f'{stem}-{number}'
        names[name] = None
    return list(names)


def describe(sample: DataSample) -> str:
    """Name the image of a sample, as the subject of a sentence."""
    height, width = sample.ori_shape[:2]
    if 'img_path' in sample:
        return f'The image {sample.img_path} of {height}×{width} pixels'
    return f'An array of {height}×{width} pixels'


class ReadingPipeline:
    """The pipeline of a test dataset, for a path or an array.

    It gives the pipeline's ``inputs`` and ``data_samples``, whose ``placement`` tells where the
    image lies in the input.

    Args:
        steps: Configs of the dataset's transforms. If none of them loads a file, because the
            dataset makes or holds its images, files are loaded in grey or colour by ``channels``.
        channels: Channels of the images that the network takes.

    Attributes:
        reads_in_part: Whether files are larger than memory: the input is an overview, and the model
            reads its patches from the file.

    Raises:
        ValueError: A transform does not fit overviews of files.
    """

    def __init__(self, steps: Sequence[dict], channels: int) -> None:
        transforms = [TRANSFORMS.build(step) for step in steps]
        loaders = [transform for transform in transforms if _is_loader(transform)]
        if not loaders:
            kind = 'mmdcn.LoadGrayscale' if channels == 1 else 'LoadImageFromFile'
            loaders = [TRANSFORMS.build(dict(type=kind))]
        self.reads_in_part = getattr(loaders[0], 'reads_in_part', False)
        if self.reads_in_part:
            check_transforms(transforms)
        self._others = [transform for transform in transforms if not _is_loader(transform)]
        self._read = ReadImage(loaders[0], channels)

    def __call__(self, image: str | np.ndarray) -> dict:
        """Read an image and send it through the pipeline."""
        data, placement = self._read(image), Placement()
        for transform in self._others:
            data, placement = follow(transform, data, placement)
        data['data_samples'].set_field(placement, 'placement', field_type='metainfo')
        return check_size(data)


class ReadImage:
    """Reads an image and checks that the network can take it.

    Args:
        load_file: Transform that loads ``img_path``.
        channels: Channels of the images that the network takes.
    """

    def __init__(self, load_file: Callable[[dict], dict], channels: int) -> None:
        self.load_file = load_file
        self.channels = channels

    def __call__(self, image: str | np.ndarray) -> dict:
        """Return ``img`` (H, W) or (H, W, C) uint8 and its shapes, as a loader does.

        Raises:
            FileNotFoundError: The file is not there.
            ValueError: The file cannot be read, the array is not an image, or the network takes
                another number of channels.
        """
        if isinstance(image, np.ndarray):
            image = self._checked(image)
            return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return self._load(image)

    def _load(self, path: str) -> dict:
        try:
            data = self.load_file(dict(img_path=path))
        except (FileNotFoundError, ValueError):
            raise
        except Image.DecompressionBombError as error:
            raise ValueError(f'The image {path} has {beyond_the_limit()}') from error
        # Decoders raise many types of error on broken bytes.
        except Exception as error:
            raise ValueError(
                f'The image {path} cannot be read ({str(error) or type(error).__name__}).'
            ) from error
        channels = _channels(data['img'])
        if channels != self.channels:
            raise ValueError(
                f'The network takes images of {self.channels} channel(s), but its '
                f"config's pipeline loads {path} with {channels}: change the loader "
                'in test_dataloader.dataset.pipeline.'
            )
        return data

    def _checked(self, array: np.ndarray) -> np.ndarray:
        """Check an array and return it in a loader's shape: (H, W, 1) becomes (H, W)."""
        given = '×'.join(map(str, array.shape)) or 'a scalar'
        if array.ndim not in (2, 3) or array.size == 0:
            raise ValueError(
                f'An array must be one image of (H, W) or (H, W, C), got {given}; '
                'pass several as a list.'
            )
        if array.dtype != np.uint8:
            raise ValueError(f'An array must hold uint8, 0 to 255, got {array.dtype}.')
        if _channels(array) != self.channels:
            raise ValueError(
                f'The network takes images of {self.channels} channel(s), got an array of {given}.'
            )
        grey = array.ndim == 3 and array.shape[2] == 1
        return np.ascontiguousarray(array[..., 0] if grey else array)


def check_size(data: dict) -> dict:
    """Raise an error if an input is too large for memory, as PIL does with files.

    Raises:
        ValueError: The input has more than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    height, width = data['inputs'].shape[-2:]
    if Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS:
        raise ValueError(
            f'{describe(data["data_samples"])} becomes an input of {height}×{width} pixels, '
            f'{beyond_the_limit()}'
        )
    return data


def _images_in(folder: Path, more: Sequence[str]) -> list[str]:
    suffixes = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN
    }  # PIL can only write some formats, such as PDF
    suffixes.update(more)
    images = sorted(
        str(path) for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file()
    )
    if not images:
        raise ValueError(f'The folder {folder} holds no images; folders in it are not searched.')
    return images


def _existing(path: str | os.PathLike) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f'An image is a path or a numpy array, got {type(path).__name__}.')
    if not os.path.isfile(path):
        wrong = 'is a folder; pass it alone' if os.path.isdir(path) else 'is not there'
        raise FileNotFoundError(f'The image {path} {wrong}.')
    return os.fspath(path)


def _is_loader(transform: Callable) -> bool:
    return type(transform).__name__.startswith('Load')


def _channels(image: np.ndarray) -> int:
    return 1 if image.ndim == 2 else image.shape[2]
