"""Lay images of a folder out on one sheet, below those of another folder if one is given.

python tools/visualizations/contact_sheet.py data/street-numbers/train --out sheet.png \\
        --num 60 --real data/svhn/train
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

GAP = 4  # white pixels around an image
RULE = 6  # grey pixels between the two folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='folder that holds 1.png, 2.png, ...')
    parser.add_argument('--out', type=Path, required=True, help='the sheet, a PNG file')
    parser.add_argument('--num', type=int, default=60, help='images a folder (default: 60)')
    parser.add_argument('--real', type=Path, help='folder whose images stand above, for comparison')
    parser.add_argument(
        '--height',
        type=int,
        default=80,
        help='height of an image on the sheet, in pixels (default: 80)',
    )
    parser.add_argument(
        '--width', type=int, default=1600, help='width of the sheet, in pixels (default: 1600)'
    )
    args = parser.parse_args()
    for name, least in (('num', 1), ('height', 1), ('width', 3 * GAP)):
        if getattr(args, name) < least:
            parser.error(f'--{name} must be at least {least}, got {getattr(args, name)}.')
    parts = []
    for folder in filter(None, (args.real, args.folder)):
        images = read_images(folder, args.num)
        if not images:
            parser.error(f'{folder} holds no image 1.png, 2.png, ...')
        parts += [
            np.full((RULE, args.width, 3), 128, np.uint8),
            lay_out(images, args.height, args.width),
        ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    _, png = cv2.imencode('.png', np.concatenate(parts[1:]))
    args.out.write_bytes(png.tobytes())


def read_images(folder: Path, num: int) -> list[np.ndarray]:
    """The first images of a folder in the order of their numbers, BGR."""
    paths = sorted(
        (path for path in folder.glob('*.png') if path.stem.isdecimal()),
        key=lambda path: int(path.stem),
    )
    return [cv2.imread(str(path)) for path in paths[:num]]


def lay_out(images: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Rows of images of one height, (H, ``width``, 3) uint8 on white."""
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
