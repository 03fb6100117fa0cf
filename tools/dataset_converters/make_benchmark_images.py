"""Make large files of random content that compresses as photographs do, to time how they are read.

    python tools/dataset_converters/make_benchmark_images.py --out data/benchmark-images

OUT gets pyramid-20000.tif and flat-20000.tif, 20,000×20,000 TIFFs of JPEG tiles with and without a
pyramid, and photo-4000x3000-1.jpg, ... of twelve megapixels. Their pixels are always the same, and
files that are there are kept.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmdcn.utils.files import replacing
from tools.command_line import at_least, errors_as_messages
from tools.dataset_converters.many_files import console, say

TILE = 256
SMALLEST = 512  # height and width of a pyramid's last level, about
QUALITY = 90  # of the JPEG compression
PERIOD = 1024  # pixels after which fine detail repeats
FALL = 1.3  # the amplitude falls with this power of the frequency
CELL = 512  # pixels between the nodes of what changes slowly


class Scenery:
    """Pixels of an image of any size, computed when they are asked for.

    The detail has the spectrum of photographs, whose amplitude falls with the frequency. Brightness
    and contrast change slowly, so that there are smooth and busy places.

    Args:
        size: Height and width.
        seed: Another one gives another image.
    """

    def __init__(self, size: tuple[int, int], seed: int = 0) -> None:
        self.size = size
        rng = np.random.default_rng(seed)
        grey, *colours = (_detail(rng) for _ in range(4))
        self.detail = np.stack([grey + 0.2 * each for each in colours], axis=-1)
        nodes = (size[0] // CELL + 2, size[1] // CELL + 2)
        grey, colour = rng.uniform(60, 180, (*nodes, 1)), rng.uniform(-30, 30, (*nodes, 3))
        self.brightness = (grey + colour).astype(np.float32)
        self.contrast = rng.uniform(2, 40, (*nodes, 1)).astype(np.float32)

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Return some rows of pixels, (bottom - top, width, 3) uint8."""
        down, across = np.arange(top, bottom), np.arange(self.size[1])
        detail = self.detail[down % PERIOD][:, across % PERIOD]
        pixels = _between(self.contrast, down, across) * detail
        pixels += _between(self.brightness, down, across)
        return pixels.clip(0, 255).astype(np.uint8)


def _detail(rng: np.random.Generator) -> np.ndarray:
    """Draw noise whose amplitude falls with the frequency, (PERIOD, PERIOD) of deviation 1."""
    down, across = np.fft.fftfreq(PERIOD), np.fft.rfftfreq(PERIOD)
    frequency = np.hypot(down[:, None], across)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(PERIOD, PERIOD))) / frequency**FALL)
    return (noise / noise.std()).astype(np.float32)


def _between(nodes: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Interpolate between nodes CELL pixels apart, (rows, columns, C) -> (down, across, C)."""
    for axis, places in enumerate((down, across)):
        first, share = places // CELL, (places % CELL / CELL).astype(np.float32)
        share = share.reshape([-1 if each == axis else 1 for each in range(3)])
        before, after = nodes.take(first, axis), nodes.take(first + 1, axis)
        nodes = before + share * (after - before)
    return nodes


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    for kind, halvings in (('pyramid', _halvings(args.side)), ('flat', 0)):
        path = args.out / f'{kind}-{args.side}.tif'
        if not _is_kept(path):
            with replacing(path) as unfinished:
                write_tiff(unfinished, Scenery((args.side, args.side)), halvings, path.name)
    width, height = args.photo_side, args.photo_side * 3 // 4
    for number in range(1, args.photos + 1):
        path = args.out / f'photo-{width}x{height}-{number}.jpg'
        if not _is_kept(path):
            with replacing(path) as unfinished:
                pixels = Scenery((height, width), number).rows(0, height)
                Image.fromarray(pixels).save(unfinished, quality=QUALITY)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/benchmark-images'),
        help='folder for the files (default: %(default)s)',
    )
    for name, least, default, text in (
        ('side', 1, 20_000, 'height and width of the TIFFs in pixels'),
        ('photos', 0, 3, 'number of JPEGs'),
        ('photo-side', 4, 4000, 'width of the JPEGs in pixels; the height is three quarters of it'),
    ):
        parser.add_argument(
            f'--{name}',
            type=at_least(least),
            default=default,
            metavar='N',
            help=f'{text} (default: %(default)s)',
        )
    return parser.parse_args(argv)


def write_tiff(path: Path, scenery: Scenery, halvings: int, name: str) -> None:
    """Write JPEG tiles, with so many halvings as a pyramid. The full image is never in memory."""
    height, width = scenery.size
    with tifffile.TiffWriter(path, bigtiff=True) as file, Progress(console=console) as bar:
        task = bar.add_task(name, total=height)
        half = np.empty((height // 2, width // 2, 3), np.uint8) if halvings else None

        def bands() -> Iterator[np.ndarray]:
            for top in range(0, height, TILE):
                band = scenery.rows(top, min(top + TILE, height))
                if half is not None:
                    half[top // 2 : (top + len(band)) // 2] = halved(band)
                bar.advance(task, len(band))
                yield band

        _write_level(file, bands(), scenery.size, subifds=halvings)
        for _ in range(halvings):
            assert half is not None
            rows = (half[top : top + TILE] for top in range(0, len(half), TILE))
            _write_level(file, rows, half.shape[:2], subfiletype=1)
            half = halved(half)


def _write_level(
    file: tifffile.TiffWriter, bands: Iterator[np.ndarray], size: tuple[int, ...], **kind: int
) -> None:
    file.write(
        (band[:, left : left + TILE] for band in bands for left in range(0, size[1], TILE)),
        shape=(*size, 3),
        dtype=np.uint8,
        photometric='rgb',  # stored as YCbCr
        subsampling=(2, 2),
        tile=(TILE, TILE),
        compression='jpeg',
        compressionargs=dict(level=QUALITY),
        maxworkers=1,
        software='mmdcn',
        metadata=None,
        **kind,
    )


def halved(image: np.ndarray) -> np.ndarray:
    """Return the rounded means of 2×2 pixels; an odd last row or column is left out."""
    height, width = (2 * (length // 2) for length in image.shape[:2])
    pairs = image[0:height:2, :width].astype(np.uint16)
    pairs += image[1:height:2, :width]
    return ((pairs[:, ::2] + pairs[:, 1::2] + 2) // 4).astype(np.uint8)


def _halvings(side: int) -> int:
    return max(0, (side // SMALLEST).bit_length() - 1)


def _is_kept(path: Path) -> bool:
    """Return whether a file is there, which is complete then, and say so."""
    if path.exists():
        say(f'{path} is kept.')
    return path.exists()


if __name__ == '__main__':
    main()
