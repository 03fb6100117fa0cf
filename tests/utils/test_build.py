from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdcn.utils.build import read_config, scope_of

from ..conftest import ROOT

NOW = ROOT / 'configs' / 'dcn' / 'dcn-k8_1xb128-60e_cluttered-mnist.py'


def test_options_override_the_files_settings():
    assert read_config(NOW, {'model.selector.k': 3}).model.selector.k == 3


@pytest.mark.parametrize(
    'name, content, error, sentence',
    [
        (
            'none.py',
            None,
            FileNotFoundError,
            'none.py is not there; those of mmdcn are in configs/',
        ),
        ('svhn/none.py', None, FileNotFoundError, 'none.py is not there'),
        ('notes.md', 'text', ValueError, 'notes.md is not a config: name a .py file'),
        ('broken.py', 'model = dict(', ValueError, 'broken.py is not valid Python'),
    ],
)
def test_what_is_no_config_is_named(tmp_path, name, content, error, sentence):
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=sentence):
        read_config(tmp_path / name)


def test_threads_take_turns_with_the_scope():
    def scope_of_another():
        with scope_of(Config(dict(default_scope='mmpretrain'))):
            return DefaultScope.get_current_instance().scope_name

    with ThreadPoolExecutor(1) as threads:
        with scope_of(Config(dict(default_scope='mmengine'))):
            found = threads.submit(scope_of_another)
            assert not wait([found], timeout=0.2).done
            assert DefaultScope.get_current_instance().scope_name == 'mmengine'
        assert found.result() == 'mmpretrain'
    assert DefaultScope.get_current_instance().scope_name == 'mmdcn'
