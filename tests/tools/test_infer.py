import json
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmdcn import DCNInferencer

from ..conftest import ROOT
from .running import python

TOOL = ROOT / 'tools' / 'infer.py'
DEMO = ROOT / 'demo' / 'cluttered_mnist.png'
(WEIGHTS,) = (ROOT / 'checkpoints').glob('dcn-k8-hint_*.pth')


@pytest.fixture
def infer(monkeypatch, capsys):
    """Runs the tool in this process and gives what it printed."""

    def run(*args) -> str:
        monkeypatch.setattr(sys, 'argv', list(map(str, (TOOL, *args))))
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


@pytest.fixture
def folder(tmp_path):
    """Images of two sizes, fewer cells than patches in one."""
    for name, size in (('a', (40, 40)), ('b', (23, 24)), ('c', (40, 40))):
        Image.fromarray(
            np.random.default_rng(ord(name)).integers(0, 256, size, dtype=np.uint8)
        ).save(tmp_path / f'{name}.png')
    return tmp_path


def test_standard_output_is_the_results_as_json_and_nothing_else(folder):
    run = python(TOOL, folder, 'dcn-k24-hint', '--checkpoint', WEIGHTS)
    done = subprocess.run(**{**run, 'stderr': subprocess.PIPE}, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = DCNInferencer('dcn-k24-hint', WEIGHTS)(folder)
    for found, wanted in zip(json.loads(done.stdout), expected, strict=True):
        assert found.keys() == wanted.keys() and found['cost'] == wanted['cost']
        assert found['img_path'] == wanted['img_path']
        for field in ('pred_scores', 'patch_bboxes', 'saliency'):
            np.testing.assert_allclose(found[field], wanted[field], rtol=1e-4, atol=1e-6)


def test_results_and_pictures_are_written(infer, folder, tmp_path):
    out = tmp_path / 'new' / 'results.json'
    printed = infer(
        folder / 'a.png',
        folder / 'b.png',
        WEIGHTS,
        '--out',
        out,
        '--batch-size',
        2,
        '--show-dir',
        tmp_path / 'shown',
    )
    assert out.read_text() == printed and list(out.parent.iterdir()) == [out]
    assert [result['img_path'] for result in json.loads(printed)] == [
        str(folder / 'a.png'),
        str(folder / 'b.png'),
    ]
    assert sorted(path.name for path in (tmp_path / 'shown').iterdir()) == ['a.png', 'b.png']


def test_the_demo_needs_an_image_and_a_name_only(infer):
    (result,) = json.loads(infer(DEMO, 'dcn-k8-hint'))
    assert result['pred_class'] == '7 - seven'


def test_an_error_leaves_earlier_results_as_they_were(infer, folder, tmp_path):
    out = tmp_path / 'results.json'
    out.write_text('earlier')
    (folder / 'd.png').write_bytes(b'no image')
    with pytest.raises(SystemExit, match='The image .*d.png is cut or cannot be read'):
        infer(folder, 'dcn-k8-hint', '--out', out)
    assert out.read_text() == 'earlier'


@pytest.mark.parametrize(
    'args, match',
    [
        (('none.png', 'dcn-k8-hint'), 'The image none.png is not there'),
        ((DEMO, 'dcn-k8-hnt'), "There is no model 'dcn-k8-hnt'; the nearest names are dcn-k8-hint"),
        ((DEMO, 'none.pth'), 'The checkpoint none.pth is not there'),
        ((DEMO, 'fine_1xb128-60e', '--checkpoint', WEIGHTS), 'is of another model'),
        ((DEMO, 'dcn-k8-hint', '--device', 'tpu9'), "The device 'tpu9' cannot be used"),
        ((DEMO, 'dcn-k8-hint', '--batch-size', 0), 'batch_size counts images'),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(infer, args, match):
    with pytest.raises(SystemExit, match=match):
        infer(*args)


def test_another_suffix_than_json_is_refused(infer, capsys):
    with pytest.raises(SystemExit):
        infer(DEMO, 'dcn-k8-hint', '--out', 'results.txt')
    assert 'argument --out: writes a .json file, got results.txt.' in capsys.readouterr().err
