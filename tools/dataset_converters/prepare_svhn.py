"""Put the uncropped SVHN ('full numbers') into a folder and check it.

    python tools/dataset_converters/prepare_svhn.py --out data/svhn [--source DIR]
        [--subsets train test extra]

Each subset comes from its archive in --source (or $SVHN_SOURCE); without one the archive is
downloaded from the dataset's home, and a download that broke off is resumed. The archive's size is
checked, it is extracted, and every image that digitStruct.mat lists must be there and whole.
Subsets that are already complete are kept. The dataset is for non-commercial use only.
"""

import argparse
import gzip
import os
import shutil
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

# Bytes of the archives
SIZES = {'train': 404141560, 'test': 276555967, 'extra': 1955489752}
HOME = 'http://ufldl.stanford.edu/housenumbers'
TIMEOUT = 30  # seconds without an answer
ATTEMPTS = 5  # in a row that bring nothing
PAUSE = 2  # seconds before another attempt
CHUNK = 2**18

# A message is the user's sentence: no wrapping, no markup in paths.
console = Console(stderr=True, soft_wrap=True)
say = partial(console.print, markup=False, highlight=False)
track = partial(rich.progress.track, console=console)


class Refused(Exception):
    """A subset can't be had or is not whole; the message says why."""


def main(arguments: Sequence[str] | None = None) -> None:
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
        help='which to prepare (default: all)',
    )
    args = parser.parse_args(arguments)
    prepare(args.out, args.subsets, args.source)


def prepare(out: Path, subsets: Sequence[str], source: Path | None = None) -> None:
    """Make ``out`` hold a complete folder for each of ``subsets``.

    Raises:
        SystemExit: A subset could not be had; the message says why.
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
            raise SystemExit(f'SVHN {subset} could not be prepared in {out}: {reason}.') from None
        say(f'{out / subset} is complete: {number} images.')


def check(folder: Path) -> int:
    """The number of images in a subset's folder, all of which must be there and whole."""
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
    # PIL's decoders answer broken bytes with many types of error.
    except Exception:
        return False
    return True


def install(subset: str, out: Path, source: Path | None) -> int:
    """Bring one subset into ``out``; the number of its images."""
    if source:
        return unpack(find(subset, source), subset, out)
    archive = download(subset, out)
    try:
        number = unpack(archive, subset, out)
    except Refused as reason:
        archive.unlink()  # else every other run would end here as well
        raise Refused(f'{reason}; the download was deleted, run this again') from reason
    archive.unlink()
    return number


def find(subset: str, source: Path) -> Path:
    """A subset's archive in the user's folder."""
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
    """Extract, check and then move a subset to its place; the number of its images."""
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
    """Move a checked folder to its place. Strange files of a folder that is there stay."""
    if not target.exists():
        fresh.rename(target)
        return
    for path in fresh.iterdir():
        path.replace(target / path.name)


def extract(archive: Path, subset: str, folder: Path) -> None:
    """Unpack the files of ``subset/`` into ``folder``; anything else is refused."""
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
            while content.read(CHUNK):  # up to the checksum
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
    """Fetch a subset's archive into ``out``; what is there of it is not fetched again."""
    name, size = f'{subset}.tar.gz', SIZES[subset]
    url, part = f'{HOME}/{name}', out / f'{name}.part'
    if size_of(part) > size:
        part.unlink()  # it is no beginning of the original
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
            except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
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
    """Append to ``part`` what the server has of the rest of ``size`` bytes, until it stops."""
    start = size_of(part)
    request = urllib.request.Request(url, headers={'Range': f'bytes={start}-'} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:
            part.unlink()  # it is no beginning of what the server has
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
    """First byte of the answer to a request from ``start`` on, and the bytes of the whole file.

    A server that ignores the range sends the file from its beginning. The size is None where it
    isn't said.
    """
    if response.status == 206:
        span, _, total = response.headers.get('Content-Range', '').partition('/')
        if not span.startswith(f'bytes {start}-'):
            raise OSError(f'the server answered with the range {span!r}')
    else:
        start, total = 0, response.headers.get('Content-Length', '')
    return start, int(total) if total.isdigit() else None


def copy(response: HTTPResponse, file: BinaryIO, size: int, report: Callable) -> None:
    """Write the answer to a file, up to ``size`` bytes in all."""
    while file.tell() < size:
        content = response.read(min(CHUNK, size - file.tell()))
        if not content:
            return
        file.write(content)
        report(completed=file.tell())


if __name__ == '__main__':
    main()
