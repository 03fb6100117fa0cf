import re

import pytest
from mmengine.config import Config

import mmdcn
from mmdcn.utils.build import read_config
from mmdcn.utils.moved import MOVED_CONFIGS, moved

from ..conftest import ROOT
from ..registered import CONFIGS


def test_a_config_that_moved_is_gone_and_its_successor_is_there():
    stems = {path.stem for path in CONFIGS}
    assert len(MOVED_CONFIGS) == 44 and not set(MOVED_CONFIGS) & stems
    for sentence in MOVED_CONFIGS.values():
        assert re.match(r'(\S+)\.py', sentence)[1] in stems


def test_the_settings_of_a_successor_are_ones_that_its_config_has():
    for sentence in MOVED_CONFIGS.values():
        config = Config.fromfile(ROOT / 'configs' / 'dcn' / re.match(r'\S+\.py', sentence)[0])
        for key in re.findall(r'(model\.[\w.]+)=', sentence):
            part = config
            for name in key.split('.'):
                part = part[name]


@pytest.mark.parametrize(
    'path, sentence',
    [
        (
            'configs/svhn/coarse-2scales_street-numbers.py',
            'configs/svhn/coarse-2scales_street-numbers.py is now '
            'configs/dcn/coarse_1xb128-10e_svhn.py with SVHN_ROOT=data/street-numbers; '
            'python tools/reproduce.py table2 runs it at two scales.',
        ),
        (
            'dcn-k6_street-numbers',
            'dcn-k6_street-numbers is now configs/dcn/dcn-k6_svhn.py with '
            'SVHN_ROOT=data/street-numbers.',
        ),
        (
            'configs/cluttered_mnist/dcn-k8_1xb128-60e_cluttered-mnist.py',
            'configs/cluttered_mnist is now configs/dcn: take '
            'configs/dcn/dcn-k8_1xb128-60e_cluttered-mnist.py.',
        ),
        ('configs/dcn/dcn-k9_svhn.py', None),
        ('svhn/mine.py', None),
    ],
)
def test_an_old_path_gets_a_sentence(path, sentence):
    assert moved(path) == sentence


def test_whoever_asks_for_an_old_config_reads_where_it_is_now():
    old = 'configs/svhn/dcn-k6_svhn.py'
    now = r'configs/svhn is now configs/dcn: take configs/dcn/dcn-k6_svhn\.py\.$'
    with pytest.raises(FileNotFoundError, match=now):
        read_config(old)
    with pytest.raises(FileNotFoundError, match=now):
        mmdcn.get_model(old)
    with pytest.raises(ValueError, match='dcn-k6_street-numbers is now configs/dcn/dcn-k6_svhn'):
        mmdcn.get_model('dcn-k6_street-numbers')
