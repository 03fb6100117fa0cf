import pytest

from mmdcn.utils.build import read_config

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
