"""Put the uncropped SVHN ('full numbers') into a folder and check it.

    python tools/dataset_converters/prepare_svhn.py --out data/svhn [--source DIR]
        [--subsets train test extra]

Each subset comes from its archive in the folder --source (or $SVHN_SOURCE). Without a folder, the
archive is downloaded from the dataset's home page; an interrupted download is resumed. The tool
checks the archive's size, extracts it, and checks that every image in digitStruct.mat exists and is
whole. Complete subsets are kept. The dataset is for non-commercial use only.
"""

import argparse
import gzip
import os
import shutil
import sys
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.error import HTTPError

import rich.progress
from PIL import Image
from rich.console import Console

from mmdcn.datasets.digit_struct import DigitStructError, load_digit_struct

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import errors_as_messages

# Sizes of the archives, in bytes
SIZES = {'train': 404141560, 'test': 276555967, 'extra': 1955489752}
HOME = 'http://ufldl.stanford.edu/housenumbers'
TIMEOUT = 30  # seconds without an answer
ATTEMPTS = 5  # attempts in a row without new data
PAUSE = 2  # seconds before the next attempt
CHUNK = 2**18

# Messages are neither wrapped nor searched for markup, which a path could contain.
console = Console(stderr=True, soft_wrap=True)
say = partial(console.print, markup=False, highlight=False)
track = partial(rich.progress.track, console=console)


class Refused(Exception):
    """Raised if a subset is not available or not whole; the message says why."""


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/svhn'),
        help='folder for the subsets (default: %(default)s)',
    )
    parser.add_argument(
        '--source',
        type=Path,
        default=os.environ.get('SVHN_SOURCE') or None,
        help='folder that holds the archives (default: $SVHN_SOURCE)',
    )
    parser.add_argument(
        '--subsets',
        nargs='+',
        choices=list(SIZES),
        default=list(SIZES),
        help='subsets to prepare (default: all)',
    )
    args = parser.parse_args(argv)
    prepare(args.out, args.subsets, args.source)


def prepare(out: Path, subsets: Sequence[str], source: Path | None = None) -> None:
    """Make ``out`` hold a complete folder for each of ``subsets``.

    Raises:
        FileNotFoundError: A subset could not be prepared; the message says why.
    """
    for subset in subsets:
        if (out / subset).is_dir():
            try:
                say(f'{out / subset} is complete: {check(out / subset)} images; it is kept.')
                continue
            except Refused as reason:
                say(f'{reason}; the subset is made again.')
        try:
            out.mkdir(parents=True, exist_ok=True)
            number = install(subset, out, source)
        except Refused as reason:
            raise FileNotFoundError(
                f'SVHN {subset} could not be prepared in {out}: {reason}.'
            ) from None
        say(f'{out / subset} is complete: {number} images.')


def check(folder: Path) -> int:
    """Check that all images of a subset's folder exist and are whole; return their number."""
    try:
        names = load_digit_struct(str(folder / 'digitStruct.mat')).names
    except FileNotFoundError:
        raise Refused(f'{folder} holds no digitStruct.mat') from None
    except DigitStructError as error:
        raise Refused(str(error).rstrip('.')) from error
    faulty = [
        name
        for name in track(names, description=f'Checking {folder.name}')
        if not is_whole(folder / name.decode())
    ]
    if faulty:
        raise Refused(
            f'{folder} lacks {len(faulty)} of {len(names)} images, or they are broken '
            f'(first: {faulty[0].decode()})'
        )
    return len(names)


def is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.verify()
    # PIL's decoders raise many types of error on broken bytes.
    except Exception:
        return False
    return True


def install(subset: str, out: Path, source: Path | None) -> int:
    """Install one subset in ``out`` and return the number of its images."""
    if source:
        return unpack(find(subset, source), subset, out)
    archive = download(subset, out)
    try:
        number = unpack(archive, subset, out)
    except Refused as reason:
        archive.unlink()  # else every later run would fail here too
        raise Refused(f'{reason}; the download was deleted, run this again') from reason
    archive.unlink()
    return number


def find(subset: str, source: Path) -> Path:
    """Return the path of a subset's archive in the user's folder, and check its size."""
    archive = source / f'{subset}.tar.gz'
    if not archive.is_file():
        raise Refused(f'{source} holds no {archive.name}; it is at {HOME}/{archive.name}')
    size = archive.stat().st_size
    if size != SIZES[subset]:
        raise Refused(
            f'{archive} has {size} bytes, but the original has {SIZES[subset]}; download it again'
        )
    return archive


def unpack(archive: Path, subset: str, out: Path) -> int:
    """Extract a subset, check it, move it to its place and return the number of its images."""
    fresh = out / f'.{subset}.{os.getpid()}.part'
    try:
        fresh.mkdir()
        extract(archive, subset, fresh)
        number = check(fresh)
        settle(fresh, out / subset)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return number


def settle(fresh: Path, target: Path) -> None:
    """Move a checked folder to its place; unknown files in an existing folder stay."""
    if not target.exists():
        fresh.rename(target)
        return
    for path in fresh.iterdir():
        path.replace(target / path.name)


def extract(archive: Path, subset: str, folder: Path) -> None:
    """Unpack the files of ``subset/`` into ``folder``, and refuse an archive with other members."""
    try:
        with (
            rich.progress.open(
                archive, 'rb', description=f'Extracting {archive.name}', console=console
            ) as packed,
            gzip.open(packed) as content,
            tarfile.open(fileobj=content, mode='r|') as members,
        ):
            for member in members:
                path = PurePosixPath(member.name)
                if member.isdir() and path == PurePosixPath(subset):
                    continue
                refuse_unsafe(member, subset, archive)
                with open(folder / path.name, 'wb') as file:
                    shutil.copyfileobj(members.extractfile(member), file)
            while content.read(CHUNK):  # reads to the end, where the checksum is verified
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused(f'{archive} is cut or corrupt ({error})') from error


def refuse_unsafe(member: tarfile.TarInfo, subset: str, archive: Path) -> None:
    path = PurePosixPath(member.name)
    if not member.isfile():
        raise Refused(
            f'{archive} holds {member.name!r}, which is not a plain file; nothing of it was kept'
        )
    if path.parts != (subset, path.name) or path.name == '..' or set(path.name) & set('\\:\0'):
        raise Refused(
            f'{archive} holds {member.name!r}, which is not a file of {subset}/; '
            'nothing of it was kept'
        )


def download(subset: str, out: Path) -> Path:
    """Download a subset's archive into ``out``, and resume an earlier download."""
    name, size = f'{subset}.tar.gz', SIZES[subset]
    url, part = f'{HOME}/{name}', out / f'{name}.part'
    if size_of(part) > size:
        part.unlink()  # it is not the beginning of the original
    columns = (
        rich.progress.TextColumn('{task.description}'),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    failures, reason = 0, ''
    with rich.progress.Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=size)
        while size_of(part) < size and failures < ATTEMPTS:
            before = size_of(part)
            if failures:
                time.sleep(PAUSE)
            try:
                fetch_rest(url, part, size, partial(progress.update, task))
                reason = 'the connection was closed'
            except (OSError, HTTPException) as error:  # includes URLError and time-outs
                reason = str(error) or type(error).__name__
            failures = 0 if size_of(part) > before else failures + 1
    if size_of(part) < size:
        raise Refused(
            f'{url} broke off after {size_of(part)} of {size} bytes ({reason}); run '
            'this again to resume, or pass --source DIR with the archive'
        )
    return part


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def fetch_rest(url: str, part: Path, size: int, report: Callable) -> None:
    """Append the missing bytes of a file of ``size`` bytes to ``part``, until the server stops."""
    start = size_of(part)
    request = urllib.request.Request(url, headers={'Range': f'bytes={start}-'} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:
            part.unlink()  # it is not the beginning of the server's file
        elif error.code < 500:
            raise Refused(
                f'{url} could not be read ({error}); pass --source DIR with the archive'
            ) from error
        raise
    with response:
        start, total = extent(response, start)
        if total not in (size, None):
            raise Refused(f'{url} has {total} bytes, but the original has {size}; it was refused')
        with open(part, 'r+b' if part.exists() else 'wb') as file:
            file.truncate(start)
            file.seek(start)
            copy(response, file, size, report)


def extent(response: HTTPResponse, start: int) -> tuple[int, int | None]:
    """Return the position of the answer's first byte and the size of the whole file.

    The request asked for the bytes from ``start`` on. A server that ignores this sends the file
    from its beginning. The size is None if the server does not tell it.
    """
    if response.status == 206:
        span, _, total = response.headers.get('Content-Range', '').partition('/')
        if not span.startswith(f'bytes {start}-'):
            raise OSError(f'the server answered with the range {span!r}')
    else:
        start, total = 0, response.headers.get('Content-Length', '')
    return start, int(total) if total.isdigit() else None


def copy(response: HTTPResponse, file: BinaryIO, size: int, report: Callable) -> None:
    """Write the server's answer to a file, up to ``size`` bytes in all."""
    while file.tell() < size:
        content = response.read(min(CHUNK, size - file.tell()))
        if not content:
            return
        file.write(content)
        report(completed=file.tell())


if __name__ == '__main__':
    main()
