import importlib.util
import io
import os
import re
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmdcn.datasets import SVHNFull

from ..conftest import ROOT
from ..datasets.digit_structs import number, write_split
from .running import python

TOOL = ROOT / 'tools' / 'dataset_converters' / 'prepare_svhn.py'
NUMBERS = {
    'train': {'1.png': number('19'), '2.png': number('3')},
    'test': {'1.png': number('7')},
    'extra': {'1.png': number('408')},
}


def packed(folder, name):
    """A .tar.gz of a folder, under ``name``."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode='w:gz') as archive:
        archive.add(folder, arcname=name)
    return content.getvalue()


@pytest.fixture(scope='module')
def archives(tmp_path_factory):
    """Subset -> its archive."""
    root = tmp_path_factory.mktemp('made')
    return {
        subset: packed(write_split(root / subset, numbers), subset)
        for subset, numbers in NUMBERS.items()
    }


@pytest.fixture
def tool(archives, monkeypatch):
    """The tool, with the sizes of these archives in place of SVHN's."""
    monkeypatch.delenv('SVHN_SOURCE', raising=False)
    spec = importlib.util.spec_from_file_location('prepare_svhn', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SIZES = {subset: len(content) for subset, content in archives.items()}
    module.PAUSE = 0
    return module


@pytest.fixture
def source(archives, tmp_path):
    folder = tmp_path / 'source'
    folder.mkdir()
    for subset, content in archives.items():
        (folder / f'{subset}.tar.gz').write_bytes(content)
    return folder


class Server(ThreadingHTTPServer):
    """Serves ``files``, and badly where it is told to."""

    files: dict  # path -> content
    asked: list  # the requests' (path, range)
    ranges = True  # heeds Range
    length = True  # says the Content-Length
    cuts, cut = 0, None  # how many answers break off, and after how many bytes
    status = None  # the only answer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get('Range')
        server.asked.append((self.path, asked))
        content = server.files.get(self.path)
        if server.status or content is None:
            return self.send_error(server.status or 404)
        start = int(re.match(r'bytes=(\d+)-$', asked)[1]) if asked and server.ranges else 0
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        if server.length:
            self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if server.cuts:
            server.cuts -= 1
            body = body[: server.cut]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(archives, tool):
    server = Server(('127.0.0.1', 0), Handler)
    server.files = {f'/home/{subset}.tar.gz': content for subset, content in archives.items()}
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    tool.HOME = f'http://127.0.0.1:{server.server_port}/home'
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def complete(out, *subsets):
    """Only these folders, each with what its archive held and an index."""
    return sorted(os.listdir(out)) == sorted(subsets) and all(
        sorted(os.listdir(out / subset))
        == sorted([*NUMBERS[subset], 'digitStruct.mat', 'digitStruct.mat.index.npz'])
        for subset in subsets
    )


def test_three_archives_become_three_folders_that_the_dataset_reads(tool, source, tmp_path):
    out = tmp_path / 'out'
    tool.main(['--out', str(out), '--source', str(source)])
    assert complete(out, 'train', 'test', 'extra')
    dataset = SVHNFull(data_root=str(out), split=['train', 'extra'])
    assert [sample['gt_digits'] for sample in dataset] == [(1, 9), (3,), (4, 0, 8)]
    assert len(list(source.iterdir())) == 3


def test_the_source_may_come_from_the_environment(tool, source, tmp_path, monkeypatch):
    monkeypatch.setenv('SVHN_SOURCE', str(source))
    tool.main(['--out', str(tmp_path / 'out'), '--subsets', 'test'])
    assert complete(tmp_path / 'out', 'test')


def test_the_tool_runs_as_a_user_calls_it(source, tmp_path):
    failed = subprocess.run(**python(TOOL, '--out', tmp_path / 'out', '--source', source))
    assert failed.returncode == 1
    message = ' '.join(failed.stdout.split())
    assert (
        f'SVHN train could not be prepared in {tmp_path}/out: {source}/train.tar.gz has ' in message
    )
    assert 'but the original has 404141560; download it again.' in message


def test_what_is_complete_is_kept_and_needs_no_source(tool, source, tmp_path, capsys):
    out = tmp_path / 'out'
    tool.prepare(out, ['train'], source)
    times = {path: path.stat().st_mtime_ns for path in (out / 'train').iterdir()}
    tool.prepare(out, ['train'], tmp_path / 'nowhere')
    assert f'{out}/train is complete: 2 images; it is kept.' in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (out / 'train').iterdir()} == times


@pytest.mark.parametrize(
    'harm, said',
    [
        (
            lambda folder: (folder / '2.png').unlink(),
            'lacks 1 of 2 images, or they are broken (first: 2.png)',
        ),
        (
            lambda folder: (folder / '1.png').write_bytes((folder / '1.png').read_bytes()[:-500]),
            'lacks 1 of 2 images, or they are broken (first: 1.png)',
        ),
        (lambda folder: (folder / 'digitStruct.mat').unlink(), 'holds no digitStruct.mat'),
        (lambda folder: (folder / 'digitStruct.mat').write_bytes(b'half'), 'is cut or corrupt'),
    ],
)
def test_an_incomplete_folder_is_made_again_and_strange_files_stay(
    tool, source, tmp_path, capsys, harm, said
):
    out = tmp_path / 'out'
    tool.prepare(out, ['train'], source)
    (out / 'train' / 'notes.txt').write_text('mine')
    harm(out / 'train')
    tool.prepare(out, ['train'], source)
    assert said in capsys.readouterr().err
    assert (out / 'train' / 'notes.txt').read_text() == 'mine'
    (out / 'train' / 'notes.txt').unlink()
    assert complete(out, 'train') and tool.check(out / 'train') == 2


def refused(tool, out, source, match, subset='train'):
    with pytest.raises(
        FileNotFoundError,
        match=f'^SVHN {subset} could not be prepared in {out}: '
        rf'[^\n]*{match}[^\n]*\.$',
    ):
        tool.prepare(out, [subset], source)


def test_a_missing_archive_is_named_with_its_home(tool, source, tmp_path):
    (source / 'train.tar.gz').unlink()
    refused(
        tool,
        tmp_path / 'out',
        source,
        f'{source} holds no train.tar.gz; it is at http://ufldl.stanford.edu/housenumbers/',
    )


def test_a_cut_archive_is_refused_for_its_size(tool, source, archives, tmp_path):
    (source / 'train.tar.gz').write_bytes(archives['train'][:-7])
    size = len(archives['train'])
    refused(
        tool,
        tmp_path / 'out',
        source,
        f'train.tar.gz has {size - 7} bytes, but the original has {size}; download it again',
    )


@pytest.mark.parametrize('place', [0, 200, -3])
def test_a_corrupt_archive_leaves_nothing(tool, source, archives, tmp_path, place):
    content = bytearray(archives['train'])
    content[place] ^= 255
    (source / 'train.tar.gz').write_bytes(content)
    refused(tool, tmp_path / 'out', source, r'train.tar.gz is cut or corrupt \(')
    assert os.listdir(tmp_path / 'out') == []


def member(name, kind=tarfile.REGTYPE, content=b'', link=''):
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, len(content), link
    return entry, io.BytesIO(content)


@pytest.mark.parametrize(
    'entry, match',
    [
        (member('../evil.png'), "'../evil.png', which is not a file of train/"),
        (member('train/../evil.png'), 'which is not a file of train/'),
        (member('train/..'), 'which is not a file of train/'),
        (member('/tmp/evil.png'), 'which is not a file of train/'),
        (member('evil.png'), 'which is not a file of train/'),
        (member('test/evil.png'), 'which is not a file of train/'),
        (member('train/deep/evil.png'), 'which is not a file of train/'),
        (member('train/deep', tarfile.DIRTYPE), 'which is not a plain file'),
        (
            member('train/evil.png', tarfile.SYMTYPE, link='/etc/passwd'),
            'which is not a plain file',
        ),
        (
            member('train/evil.png', tarfile.LNKTYPE, link='train/1.png'),
            'which is not a plain file',
        ),
        (member('train/evil.png', tarfile.CHRTYPE), 'which is not a plain file'),
        (member('train/evil.png', tarfile.FIFOTYPE), 'which is not a plain file'),
    ],
)
def test_an_archive_that_reaches_out_is_refused_and_leaves_nothing(
    tool, source, tmp_path, entry, match
):
    with tarfile.open(source / 'train.tar.gz', 'w:gz') as archive:
        archive.addfile(*member('train/1.png', content=b'first'))
        archive.addfile(*entry)
    tool.SIZES['train'] = (source / 'train.tar.gz').stat().st_size
    refused(tool, tmp_path / 'out', source, f'{match}.*; nothing of it was kept')
    assert os.listdir(tmp_path / 'out') == []
    assert not list(tmp_path.rglob('evil.png'))


def test_an_archive_without_an_image_that_it_lists_is_refused(tool, source, tmp_path):
    folder = write_split(tmp_path / 'train', NUMBERS['train'])
    (folder / '2.png').unlink()
    (source / 'train.tar.gz').write_bytes(packed(folder, 'train'))
    tool.SIZES['train'] = (source / 'train.tar.gz').stat().st_size
    refused(tool, tmp_path / 'out', source, r'lacks 1 of 2 images.*\(first: 2.png\)')
    assert os.listdir(tmp_path / 'out') == []


def test_a_full_disk_leaves_no_half_folder_and_keeps_the_download(
    tool, server, tmp_path, monkeypatch
):
    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tool.shutil, 'copyfileobj', full)
    with pytest.raises(OSError, match='No space left'):
        tool.prepare(tmp_path / 'out', ['train'])
    assert os.listdir(tmp_path / 'out') == ['train.tar.gz.part']


def test_archives_are_downloaded_and_removed_when_unpacked(tool, server, tmp_path):
    tool.prepare(tmp_path / 'out', ['train', 'extra'])
    assert complete(tmp_path / 'out', 'train', 'extra')
    assert server.asked == [('/home/train.tar.gz', None), ('/home/extra.tar.gz', None)]


def test_a_transfer_that_breaks_off_goes_on_where_it_was(tool, server, tmp_path):
    server.cut, server.cuts = 1000, 2
    tool.prepare(tmp_path / 'out', ['train'])
    assert complete(tmp_path / 'out', 'train')
    assert [asked for _, asked in server.asked] == [None, 'bytes=1000-', 'bytes=2000-']


def test_another_run_resumes_what_one_gave_up(tool, server, tmp_path, archives):
    out, size = tmp_path / 'out', len(archives['train'])
    server.cut, server.cuts = 700, 1
    tool.ATTEMPTS = 1
    fetch, calls = tool.fetch_rest, []

    def once(*args):
        if calls:
            raise OSError('no route to host')
        calls.append(args)
        fetch(*args)

    tool.fetch_rest = once
    refused(
        tool,
        out,
        None,
        rf'broke off after 700 of {size} bytes \(no route to host\); run this '
        'again to resume, or pass --source DIR',
    )
    assert (out / 'train.tar.gz.part').read_bytes() == archives['train'][:700]
    tool.fetch_rest = fetch
    tool.prepare(out, ['train'])
    assert complete(out, 'train')
    assert [asked for _, asked in server.asked] == [None, 'bytes=700-']


def part(tmp_path, content):
    path = tmp_path / 'out' / 'train.tar.gz.part'
    path.parent.mkdir()
    path.write_bytes(content)


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(tool, server, tmp_path):
    part(tmp_path, b'x' * 900)
    server.ranges = False
    tool.prepare(tmp_path / 'out', ['train'])
    assert complete(tmp_path / 'out', 'train')


def test_a_server_that_says_no_length_is_read(tool, server, tmp_path):
    server.length = False
    tool.prepare(tmp_path / 'out', ['train'])
    assert complete(tmp_path / 'out', 'train')


def test_a_part_longer_than_the_original_is_dropped(tool, server, tmp_path, archives):
    part(tmp_path, archives['train'] + b'more')
    tool.prepare(tmp_path / 'out', ['train'])
    assert complete(tmp_path / 'out', 'train')


def test_a_part_that_the_server_has_no_rest_of_is_dropped(tool, server, tmp_path, archives):
    size = len(archives['train'])
    server.files['/home/train.tar.gz'] = archives['train'][:500]
    part(tmp_path, archives['train'][:600])
    refused(tool, tmp_path / 'out', None, f'has 500 bytes, but the original has {size}; it was')
    assert [asked for _, asked in server.asked] == ['bytes=600-', None]


def test_a_part_of_something_else_is_deleted_in_the_end(tool, server, tmp_path):
    part(tmp_path, b'x' * 900)
    refused(
        tool,
        tmp_path / 'out',
        None,
        r'is cut or corrupt \(.*; the download was deleted, run this again',
    )
    assert os.listdir(tmp_path / 'out') == []
    tool.prepare(tmp_path / 'out', ['train'])
    assert complete(tmp_path / 'out', 'train')


def test_a_file_of_another_size_is_refused_before_it_is_read(tool, server, tmp_path, archives):
    server.files['/home/train.tar.gz'] = b'<html>Sign in</html>'
    refused(
        tool,
        tmp_path / 'out',
        None,
        f'has 20 bytes, but the original has {len(archives["train"])}; it was refused',
    )
    assert os.listdir(tmp_path / 'out') == []


def test_a_file_that_is_gone_is_not_asked_for_again(tool, server, tmp_path):
    server.files.clear()
    refused(tool, tmp_path / 'out', None, r'could not be read \(HTTP Error 404.*\); pass --source')
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_a_few_times(tool, server, tmp_path):
    server.status = 503
    refused(tool, tmp_path / 'out', None, r'broke off after 0 of \d+ bytes \(HTTP Error 503')
    assert len(server.asked) == tool.ATTEMPTS


def test_a_home_out_of_reach_is_named(tool, tmp_path):
    tool.HOME = 'http://127.0.0.1:1'
    refused(tool, tmp_path / 'out', None, 'http://127.0.0.1:1/train.tar.gz broke off after 0')
