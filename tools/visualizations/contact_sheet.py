r"""Draw the images of a folder on one sheet, optionally below those of another folder.

python tools/visualizations/contact_sheet.py data/street-numbers/train --out sheet.png \
        --num 60 --real data/svhn/train
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import at_least, errors_as_messages

GAP = 4  # white pixels around an image
RULE = 6  # grey pixels between the two folders


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='folder that holds 1.png, 2.png, ...')
    parser.add_argument('--out', type=Path, required=True, help='the sheet, a PNG file')
    parser.add_argument(
        '--num', type=at_least(1), default=60, help='images per folder (default: 60)'
    )
    parser.add_argument(
        '--real', type=Path, help='folder with images to draw above, for comparison'
    )
    parser.add_argument(
        '--height',
        type=at_least(1),
        default=80,
        help='height of an image on the sheet, in pixels (default: 80)',
    )
    parser.add_argument(
        '--width',
        type=at_least(3 * GAP),
        default=1600,
        help='width of the sheet, in pixels (default: 1600)',
    )
    args = parser.parse_args(argv)
    parts = []
    for folder in filter(None, (args.real, args.folder)):
        images = read_images(folder, args.num)
        if not images:
            raise FileNotFoundError(f'{folder} holds no image 1.png, 2.png, ...')
        parts += [
            np.full((RULE, args.width, 3), 128, np.uint8),
            lay_out(images, args.height, args.width),
        ]
    _, png = cv2.imencode('.png', np.concatenate(parts[1:]))
    with replacing(args.out) as unfinished:
        unfinished.write_bytes(png.tobytes())


def read_images(folder: Path, num: int) -> list[np.ndarray]:
    """Read the first images of a folder in the order of their numbers, BGR."""
    paths = sorted(
        (path for path in folder.glob('*.png') if path.stem.isdecimal()),
        key=lambda path: int(path.stem),
    )
    return [cv2.imread(str(path)) for path in paths[:num]]


def lay_out(images: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Arrange images of equal height in rows on white, (H, ``width``, 3) uint8."""
    rows, x = [], width
    for image in images:
        wide = min(max(1, round(image.shape[1] * height / image.shape[0])), width - 2 * GAP)
        if x + wide + GAP > width:
            rows.append(np.full((height + GAP, width, 3), 255, np.uint8))
            x = GAP
        method = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_LINEAR
        rows[-1][GAP:, x : x + wide] = cv2.resize(image, (wide, height), interpolation=method)
        x += wide + GAP
    return np.concatenate(rows)


if __name__ == '__main__':
    main()
