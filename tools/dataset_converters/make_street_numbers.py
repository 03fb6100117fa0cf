r"""Make synthetic pictures of house numbers in SVHN's "full numbers" format.

    python tools/dataset_converters/make_street_numbers.py --out data/street-numbers \
        --train 20000 --extra 20000 --test 5000 --seed 0

OUT/train, OUT/extra and OUT/test get 1.png, 2.png, ... and digitStruct.mat. Image i of a subset
depends on the seed, the subset and i alone. An existing subset with the same settings is kept. A
subset's folder gets its name only when it is complete.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import at_least, errors_as_messages
from tools.dataset_converters.many_files import make_many, say
from tools.dataset_converters.street_numbers import (
    SUBSETS,
    DigitBox,
    make_street_number,
    write_digit_struct,
)

SETTINGS = 'settings.json'
RENDERER = 2  # increase it with each change to the pictures, so that old and new ones do not mix
CHUNK = 16  # images that a process makes at a time
COUNTS = {'train': 20000, 'extra': 20000, 'test': 5000}


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    folders = {name: args.out / name for name in SUBSETS if getattr(args, name)}
    wanted = {
        name: dict(subset=name, images=getattr(args, name), seed=args.seed, renderer=RENDERER)
        for name in folders
    }
    complete = {name: is_complete(folders[name], wanted[name]) for name in folders}
    for name, folder in folders.items():
        if complete[name]:
            say(f'{folder} is complete: {wanted[name]["images"]} images, kept.')
        else:
            make_subset(folder, wanted[name], args.workers)
            say(f'{folder} is complete: {wanted[name]["images"]} images.')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/street-numbers'),
        help='folder for the subsets (default: %(default)s)',
    )
    for name, count in COUNTS.items():
        parser.add_argument(
            f'--{name}',
            type=at_least(0),
            default=count,
            metavar='N',
            help='number of images in the subset; 0 leaves it out (default: %(default)s)',
        )
    parser.add_argument(
        '--seed', type=at_least(0), default=0, help='seed of the pictures (default: 0)'
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
        parser.error('--train, --extra and --test are all 0, so there is nothing to make.')
    if args.out.exists() and not args.out.is_dir():
        parser.error(f'--out must be a folder, but {args.out} is a file.')
    return args


def is_complete(folder: Path, wanted: dict) -> bool:
    """Return whether a folder holds the wanted subset; False if there is no folder.

    Raises:
        ValueError: The folder holds something else.
    """
    if not folder.exists():
        return False
    try:
        held = json.loads((folder / SETTINGS).read_text())
    except (OSError, ValueError):
        raise ValueError(
            f'{folder} exists but was not made by this tool (it has no readable '
            f'{SETTINGS}); choose another --out.'
        ) from None
    if held != wanted:
        raise ValueError(
            f'{folder} was made with other settings ({listed(held, wanted)}); delete '
            'that folder, choose another --out, or ask for the same settings.'
        )
    return True


def listed(held: dict, wanted: dict) -> str:
    return ', '.join(
        f'{key} {held.get(key)} there, {value} asked'
        for key, value in wanted.items()
        if held.get(key) != value
    )


def make_subset(folder: Path, settings: dict, workers: int) -> None:
    """Make a subset in a temporary folder, then move it to its place; clean up after an error."""
    unfinished = folder.with_name(f'.{folder.name}.part')
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
    unfinished.mkdir(parents=True)
    try:
        boxes = make_images(unfinished, settings, workers)
        names = [f'{number}.png' for number in range(1, len(boxes) + 1)]
        say('Writing digitStruct.mat ...')
        write_digit_struct(unfinished / 'digitStruct.mat', names, boxes)
        (unfinished / SETTINGS).write_text(json.dumps(settings, indent=2) + '\n')
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def make_images(folder: Path, settings: dict, workers: int) -> list[list[DigitBox]]:
    """Write the images of a subset and return the digits of each."""
    return make_many(
        partial(make_image, folder, settings),
        settings['images'],
        name=settings['subset'],
        workers=workers,
        chunk=CHUNK,
        start=partial(cv2.setNumThreads, 1),
    )


def make_image(folder: Path, settings: dict, index: int) -> list[DigitBox]:
    image, digits = make_street_number(settings['seed'], settings['subset'], index)
    _, png = cv2.imencode('.png', image[..., ::-1])
    (folder / f'{index + 1}.png').write_bytes(png.tobytes())
    return digits


if __name__ == '__main__':
    main()
