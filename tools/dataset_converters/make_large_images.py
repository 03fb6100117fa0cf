r"""Make Megapixel MNIST as large TIFF files of unlike sizes, for networks that read parts of them.

    python tools/dataset_converters/make_large_images.py --out data/large-images \
        --train 2000 --val 100 --test 100 --seed 0

OUT/train, OUT/val and OUT/test get a folder per class with 0001.tif, 0002.tif, ... as MMPretrain's
``CustomDataset`` reads them, and OUT/train.json, ... list each file's size, and the boxes of its
digits. Image i of a split depends on the seed, the sizes, the split and i alone. An interrupted run
goes on where it stopped: complete files are kept.
"""

import argparse
import json
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdcn.datasets import MegapixelMNIST
from mmdcn.datasets.megapixel_mnist import NUM_DIGITS, Piece
from mmdcn.datasets.mnist_canvas import DIGIT_SIZE, SPLITS, box_at
from mmdcn.utils.files import replacing
from tools.command_line import at_least, errors_as_messages
from tools.dataset_converters.many_files import make_many, say

RENDERER = 1  # increase it with each change to the images, so that old and new ones do not mix
COUNTS = {'train': 2000, 'val': 100, 'test': 100}
# At 1/32, a digit is as large as in Megapixel MNIST at 1/8.
ENLARGED = 4
SIZE = ENLARGED * DIGIT_SIZE  # of a digit or piece of noise, in pixels
SMALLEST = NUM_DIGITS * SIZE  # room for five digits however they lie
NOISE_PER_PIXEL = 50 / (ENLARGED * 1500) ** 2  # as dense as in Megapixel MNIST
TILE = 256
HALVINGS = 5  # the smallest level is at 1/32
BLACK = zlib.compress(bytes(TILE**2))  # a tile


class Image(NamedTuple):
    """What a file shows."""

    label: int
    canvas: tuple[int, int]  # height, width
    noise: list[Piece]
    digits: list[Piece]


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    for split in COUNTS:
        if getattr(args, split):
            make_split(args, split)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/large-images'),
        help='folder for the splits (default: %(default)s)',
    )
    parser.add_argument(
        '--data-root', default='data/mnist', help='folder of MNIST (default: %(default)s)'
    )
    for name, count in COUNTS.items():
        parser.add_argument(
            f'--{name}',
            type=at_least(0),
            default=count,
            metavar='N',
            help='number of images in the split; 0 leaves it out (default: %(default)s)',
        )
    for name, length in (('smallest', 2000), ('largest', 8000)):
        parser.add_argument(
            f'--{name}',
            type=at_least(SMALLEST),
            default=length,
            metavar='PIXELS',
            help=f'{name} height and width (default: %(default)s)',
        )
    parser.add_argument(
        '--seed', type=at_least(0), default=0, help='seed of the images (default: 0)'
    )
    parser.add_argument(
        '--workers',
        type=at_least(1),
        default=os.cpu_count() or 1,
        metavar='N',
        help='number of processes (default: one per CPU, here %(default)s)',
    )
    args = parser.parse_args(argv)
    if not any(getattr(args, name) for name in COUNTS):
        parser.error('--train, --val and --test are all 0, so there is nothing to make.')
    if args.smallest > args.largest:
        parser.error(f'--smallest is {args.smallest}, more than --largest, {args.largest}.')
    if args.out.exists() and not args.out.is_dir():
        parser.error(f'--out must be a folder, but {args.out} is a file.')
    return args


def make_split(args: argparse.Namespace, split: str) -> None:
    """Describe a split in its JSON file, then write the images that are not there yet."""
    draw = partial(draw_image, args.data_root, split, args.seed, args.smallest, args.largest)
    count, folder = getattr(args, split), args.out / split
    images = {}
    for index in range(count):
        _, canvas, _, digits = image = draw(index)
        boxes = [box_at(top, left, SIZE) for _, top, left in digits]
        images[place(index, image.label)] = dict(size=canvas, boxes=boxes)
    describe(
        folder,
        dict(
            images=count,
            seed=args.seed,
            smallest=args.smallest,
            largest=args.largest,
            renderer=RENDERER,
            files=images,
        ),
    )
    for unfinished in folder.glob('*/*.unfinished.tif'):  # left by a run that was killed
        unfinished.unlink()
    made = make_many(partial(make_file, folder, draw), count, name=split, workers=args.workers)
    say(f'{folder} is complete: {count} images, {count - sum(made)} of them kept.')


def describe(folder: Path, wanted: dict) -> None:
    """Write a split's JSON file, or check that it says the same.

    Raises:
        ValueError: The split was made with other settings, or by something else.
    """
    path = folder.with_suffix('.json')
    if not path.exists():
        if folder.exists():
            raise ValueError(
                f'{folder} exists but was not made by this tool ({path} is missing); choose '
                'another --out.'
            )
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(wanted) + '\n')
        return
    try:
        held = dict(json.loads(path.read_text()))
    except (TypeError, ValueError):
        raise ValueError(f'{path} is not of this tool; choose another --out.') from None
    differing = ', '.join(
        f'{key} {held.get(key)} there, {value} asked'
        for key, value in wanted.items()
        if key != 'files' and held.get(key) != value
    )
    if differing:
        raise ValueError(
            f'{folder} was made with other settings ({differing}); delete {folder} and {path}, '
            'choose another --out, or ask for the same settings.'
        )


def place(index: int, label: int) -> str:
    """Return where an image's file lies in its split."""
    return f'{label}/{index + 1:04}.tif'


def draw_image(
    data_root: str, split: str, seed: int, smallest: int, largest: int, index: int
) -> Image:
    """Draw what an image shows; all classes are equally frequent."""
    # MegapixelMNIST's own seeds have four numbers or end in 1 or 2.
    rng = np.random.default_rng((seed, SPLITS[split].stream, index, 0, 3))
    height, width = rng.integers(smallest, largest + 1, size=2).tolist()
    label = index % 10
    noise, digits = source(data_root, split, seed).draw(
        rng,
        label,
        canvas=(height, width),
        num_noise=round(NOISE_PER_PIXEL * height * width),
        size=SIZE,
    )
    return Image(label, (height, width), noise, digits)


@cache  # once in each process
def source(data_root: str, split: str, seed: int) -> MegapixelMNIST:
    """Return the dataset that draws digits and noise."""
    return MegapixelMNIST(data_root=data_root, split=split, seed=seed)


def make_file(folder: Path, draw: partial[Image], index: int) -> bool:
    """Write an image unless its file is there and complete; return whether it was written."""
    image = draw(index)
    path = folder / place(index, image.label)
    if is_complete(path, image.canvas):
        return False
    with replacing(path) as unfinished:
        write_pyramid(unfinished, rendered(image))
    return True


def rendered(image: Image) -> np.ndarray:
    """Return an image's pixels, (H, W) uint8."""
    canvas = np.zeros(image.canvas, np.uint8)
    for pixels, top, left in (*image.noise, *image.digits):
        canvas[top : top + SIZE, left : left + SIZE] = pixels.repeat(ENLARGED, 0).repeat(
            ENLARGED, 1
        )
    return canvas


def write_pyramid(path: Path, level: np.ndarray) -> None:
    """Write a tiled TIFF of (H, W) uint8 with its halvings in SubIFDs."""
    with tifffile.TiffWriter(path) as file:
        write_level(file, level, subifds=HALVINGS)
        for _ in range(HALVINGS):
            level = halved(level)
            write_level(file, level, subfiletype=1)


def write_level(file: tifffile.TiffWriter, level: np.ndarray, **kind: int) -> None:
    file.write(
        deflated_tiles(level),
        shape=level.shape,
        dtype=level.dtype,
        photometric='minisblack',
        tile=(TILE, TILE),
        compression='zlib',
        software='mmdcn',
        metadata=None,
        **kind,
    )


def deflated_tiles(level: np.ndarray) -> Iterator[bytes]:
    """Yield the tiles of (H, W) uint8; most are black, and need not be compressed each."""
    for top in range(0, level.shape[0], TILE):
        for left in range(0, level.shape[1], TILE):
            tile = level[top : top + TILE, left : left + TILE]
            if not tile.any():
                yield BLACK
            else:
                height, width = tile.shape
                yield zlib.compress(np.pad(tile, ((0, TILE - height), (0, TILE - width))).tobytes())


def halved(image: np.ndarray) -> np.ndarray:
    """Return the rounded means of 2×2 pixels; an odd last row or column is left out."""
    height, width = (2 * (length // 2) for length in image.shape)
    pairs = image[0:height:2, :width].astype(np.uint16)
    pairs += image[1:height:2, :width]
    return ((pairs[:, ::2] + pairs[:, 1::2] + 2) // 4).astype(np.uint8)


def is_complete(path: Path, canvas: tuple[int, int]) -> bool:
    """Return whether a file is there, of this size, with all levels and all their bytes."""
    if not path.exists():
        return False
    try:
        with tifffile.TiffFile(path) as file:
            levels = file.series[0].levels
            return (
                levels[0].shape == canvas
                and len(levels) == HALVINGS + 1
                and all(
                    end <= path.stat().st_size for level in levels for end in ends(level.pages[0])
                )
            )
    except (tifffile.TiffFileError, IndexError, ValueError):
        return False


def ends(page: tifffile.TiffPage) -> Iterator[int]:
    """Return where each of a page's tiles ends in the file."""
    return (
        start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=True)
    )


if __name__ == '__main__':
    main()
