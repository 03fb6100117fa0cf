import json
import runpy
import sys

import pytest

from ..conftest import ROOT

TOOL = ROOT / 'tools' / 'analysis_tools' / 'get_cost.py'
CLUTTERED = ROOT / 'configs' / 'dcn'
COARSE, FINE, DCN = (
    CLUTTERED / f'{name}_1xb128-60e_cluttered-mnist.py' for name in ('coarse', 'fine', 'dcn-k8')
)
SVHN_DCN = ROOT / 'configs' / 'dcn' / 'dcn-k6_svhn.py'
SHAPE = ('--shape', 1, 100, 100)


@pytest.fixture
def get_cost(monkeypatch, capsys):
    """Runs the tool in this process and gives what it printed."""

    def run(*args) -> str:
        monkeypatch.setattr(sys, 'argv', list(map(str, (TOOL, *args))))
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


def test_the_file_has_an_object_a_config_and_k(get_cost, tmp_path):
    out = tmp_path / 'new' / 'cost.json'
    printed = get_cost(DCN, *SHAPE, '--k', 0, 24, '--out', out)
    none, many = json.loads(out.read_text())
    last, patch, change = 960, 1_156_032, 36_864
    head = 3_686_400 + last
    back = 960 + 36_864  # the linear layer and one window a channel
    # Weights: convolutions, a scale and a shift for each filter, the linear layer.
    weights = (
        49 * 12
        + 9 * 12 * 24
        + 2 * 36
        + 9 * 24
        + 4 * 9 * 24 * 24
        + 5 * 2 * 24
        + 16 * 24 * 96
        + 2 * 96
        + 96 * 10
        + 10
    )
    assert none == dict(
        config=str(DCN),
        shape=[1, 100, 100],
        k=0,
        parameters=weights,
        total=2_670_060 + head + last + back,
        parts={
            'coarse': 2_670_060,
            'head on coarse': head,
            'saliency': back,
            'fine': 0,
            'neck': 0,
            'head on refined': last,
        },
    )
    assert many == {
        **none,
        'k': 24,
        'total': none['total'] + 24 * (patch + change),
        'parts': {**none['parts'], 'fine': 24 * patch, 'head on refined': last + 24 * change},
    }
    rows = [line.split() for line in printed.splitlines() if line.startswith(' dcn-k8')]
    assert [(row[1], row[-1]) for row in rows] == [('0', '6,396,204'), ('24', '35,025,708')]


def test_without_a_shape_the_first_test_image_is_taken(get_cost, mnist_root, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert 'an image of 1×100×100' in get_cost(COARSE)


def test_a_sweep_draws_the_totals_of_ever_larger_images(get_cost, tmp_path):
    picture, out = tmp_path / 'new' / 'cost.png', tmp_path / 'cost.json'
    printed = get_cost(COARSE, DCN, '--shape', 1, 40, 50, '--sweep', picture, '--out', out)
    assert picture.read_bytes()[:4] == b'\x89PNG'
    costs = json.loads(out.read_text())
    coarse, dcn = (
        [cost for cost in costs if cost['config'] == str(config)] for config in (COARSE, DCN)
    )
    for costs in (coarse, dcn):
        assert [cost['shape'] for cost in costs] == [[1, 40 * n, 50 * n] for n in range(1, 9)]
    # 40×50 → 17×22 → 8×10 cells → 3×4 windows of the head
    assert coarse[0]['total'] == (
        17 * 22 * 49 * 12 + 8 * 10 * 9 * 12 * 24 + 3 * 4 * 16 * 24 * 96 + 960
    )
    assert {cost['parts']['fine'] for cost in dcn} == {8 * 1_156_032}
    (row,) = (line.split() for line in printed.splitlines() if line.startswith(' 1×40×50 '))
    assert row[1:] == [f'{costs[0]["total"]:,}' for costs in (coarse, dcn)]


def test_k_is_what_the_image_has_and_a_coarse_model_has_one_row(get_cost, tmp_path):
    get_cost(COARSE, DCN, '--shape', 1, 30, 30, '--k', 8, 2000, '--out', tmp_path / 'cost.json')
    costs = json.loads((tmp_path / 'cost.json').read_text())
    # 30 pixels leave (30 − 11) // 4 + 1 = 5 cells either way.
    assert [cost['k'] for cost in costs] == [None, 8, 25]


def test_true_boxes_are_not_needed_to_count(get_cost, tmp_path):
    get_cost(
        CLUTTERED / 'dcn-k8-hint-oracle_1xb128-60e_cluttered-mnist.py',
        *SHAPE,
        '--out',
        tmp_path / 'cost.json',
    )
    (cost,) = json.loads((tmp_path / 'cost.json').read_text())
    assert cost['parts']['saliency'] == 0 and cost['parts']['fine'] == 8 * 1_156_032


@pytest.mark.parametrize(
    'args, sentence',
    [
        (['nowhere.py'], 'The config nowhere.py is not there; those of mmdcn are in configs/.'),
        (
            [COARSE, *SHAPE, '--k', 8],
            '--k sets the k of a selector, but no model here has one: leave it out.',
        ),
        (
            [DCN, '--shape', 1, 20, 20],
            f'{DCN} cannot run on an image of 1×20×20 (GlobalMaxPoolHead '
            'needs a feature map of at least 4×4 cells, got 3×3: enlarge the image).',
        ),
        ([DCN, '--shape', 3, 100, 100], 'or the in_channels of both towers).'),
    ],
)
def test_what_cannot_be_counted_is_refused_in_a_sentence(get_cost, args, sentence):
    with pytest.raises(SystemExit) as refused:
        get_cost(*args)
    assert str(refused.value).endswith(sentence) and '\n' not in str(refused.value)


def test_absent_data_is_named_with_the_way_round_it(get_cost, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SystemExit,
        match='no test image to take a shape from .*digitStruct.mat is '
        'missing.*; pass --shape, which needs no data',
    ):
        get_cost(SVHN_DCN)


@pytest.mark.parametrize(
    'args, sentence',
    [
        (['--shape', 1, 0, 9], 'argument --shape: must be a whole number of at least 1, got 0.'),
        (['--k', -1], 'argument --k: must be a whole number of at least 0, got -1.'),
        (['--sweep', 'cost.png'], '--sweep needs --shape, the size to begin with'),
        (['--sweep', 'cost.jpg', *SHAPE], 'argument --sweep: writes a .png file, got cost.jpg.'),
        (['--out', 'cost.png'], 'argument --out: writes a .json file, got cost.png.'),
    ],
)
def test_options_that_make_no_sense_are_refused(get_cost, capsys, args, sentence):
    with pytest.raises(SystemExit):
        get_cost(DCN, *args)
    assert sentence in capsys.readouterr().err
