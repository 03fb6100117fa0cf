import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmdcn.utils.files import check_writable, replacing


def test_a_file_appears_when_it_is_whole_and_folders_are_made(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    with replacing(path) as unfinished:
        unfinished.write_text('half')
        assert unfinished.suffix == '.json' and not path.exists()
        unfinished.write_text('whole')
    assert path.read_text() == 'whole' and list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('before')
    with pytest.raises(KeyboardInterrupt), replacing(path) as unfinished:
        unfinished.write_text('half')
        raise KeyboardInterrupt
    assert path.read_text() == 'before' and list(tmp_path.iterdir()) == [path]


def test_two_threads_write_one_file_after_the_other(tmp_path):
    path = tmp_path / 'a.json'
    with replacing(path) as mine, ThreadPoolExecutor(1) as threads:
        mine.write_text('mine')

        def write():
            with replacing(path) as theirs:
                theirs.write_text('theirs')

        threads.submit(write).result()
        assert path.read_text() == 'theirs'
    assert path.read_text() == 'mine' and list(tmp_path.iterdir()) == [path]


def test_a_folder_and_what_lies_in_a_file_are_refused_at_once(tmp_path):
    (tmp_path / 'file').touch()
    for path, sentence in (
        (tmp_path, 'because it is a folder'),
        (tmp_path / 'file' / 'a.json', 'is not a folder'),
    ):
        with pytest.raises(OSError, match=sentence), replacing(path):
            raise AssertionError
        with pytest.raises(OSError, match=sentence):
            check_writable(path)


def test_a_full_disk_is_named_with_the_file_and_what_was_there_stays(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('before')
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(OSError, match=r'a.json cannot be written \(.*\): make room'):
            with replacing(path) as unfinished:
                unfinished.write_text('half')
                raise OSError(number, 'it is full')
    with pytest.raises(PermissionError), replacing(path):
        raise PermissionError
    assert path.read_text() == 'before' and list(tmp_path.iterdir()) == [path]


def test_a_check_makes_the_folder_and_leaves_the_file(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    check_writable(path)
    assert list(path.parent.iterdir()) == []
    path.write_text('before')
    check_writable(path)
    assert path.read_text() == 'before' and list(path.parent.iterdir()) == [path]
