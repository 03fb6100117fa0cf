import json
import resource
import runpy
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.live import Live

from mmdcn import DCNInferencer, get_model
from tools import infer as tool

from ..conftest import ROOT
from .running import python

TOOL = ROOT / 'tools' / 'infer.py'
DEMO = ROOT / 'demo' / 'cluttered_mnist.png'
(WEIGHTS,) = (ROOT / 'checkpoints').glob('dcn-k8-hint_*.pth')


@pytest.fixture
def infer(monkeypatch, capsys):
    """Runs the tool in this process and gives what it printed; some images may fail."""

    def run(*args, failed: str = '') -> str:
        monkeypatch.setattr(sys, 'argv', list(map(str, (TOOL, *args))))
        if failed:
            with pytest.raises(SystemExit) as end:
                runpy.run_path(str(TOOL), run_name='__main__')
            assert end.value.code == f'{failed} images failed; their results say why.'
        else:
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


def test_patches_are_geojson_that_says_what_the_results_say(infer, folder, tmp_path):
    printed = infer(folder, WEIGHTS, '--batch-size', 3, '--geojson', tmp_path / 'patches')
    assert sorted(path.name for path in (tmp_path / 'patches').iterdir()) == [
        'a.geojson',
        'b.geojson',
        'c.geojson',
    ]
    for result, size in zip(json.loads(printed), ((40, 40), (23, 24), (40, 40)), strict=True):
        path = tmp_path / 'patches' / f'{Path(result["img_path"]).stem}.geojson'
        collection = json.loads(path.read_text())
        facts = collection['properties']
        assert (facts['height'], facts['width']) == size and facts['cost'] == result['cost']
        corners = [
            [*feature['geometry']['coordinates'][0][0], *feature['geometry']['coordinates'][0][2]]
            for feature in collection['features']
        ]
        assert corners == result['patch_bboxes'] != []


def test_one_image_may_have_a_geojson_file_and_a_model_without_patches_has_no_features(
    infer, folder, tmp_path
):
    file = tmp_path / 'new' / 'patches.geojson'
    infer(DEMO, 'dcn-k8-hint', '--geojson', file)
    assert len(json.loads(file.read_text())['features']) == 8
    fine = tmp_path / 'fine.pth'
    torch.save(dict(state_dict=get_model('fine_1xb128-60e').state_dict()), fine)
    outputs = ('--geojson', file, '--save-patches', tmp_path / 'cut')
    infer(DEMO, 'fine_1xb128-60e', '--checkpoint', fine, *outputs)
    assert json.loads(file.read_text())['features'] == []
    assert not list((tmp_path / 'cut').iterdir())
    with pytest.raises(SystemExit, match='can hold the patches of one image, and there are 3'):
        infer(folder, 'dcn-k8-hint', '--geojson', file)


def test_the_pixels_of_patches_are_those_of_the_file_by_rank(infer, tmp_path):
    (result,) = json.loads(infer(DEMO, 'dcn-k8-hint', '--save-patches', tmp_path))
    (saved,) = tmp_path.iterdir()
    assert saved.name == 'cluttered_mnist'
    assert sorted(path.name for path in saved.iterdir()) == [f'{rank}.png' for rank in range(1, 9)]
    pixels = np.pad(np.asarray(Image.open(DEMO)), 14)  # zeros outside
    for rank, box in enumerate(result['patch_bboxes'], start=1):
        left, top = (int(edge) + 14 for edge in box[:2])
        np.testing.assert_array_equal(
            np.asarray(Image.open(saved / f'{rank}.png')), pixels[top : top + 14, left : left + 14]
        )


@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_an_image_that_fails_says_why_and_the_others_go_on(infer, folder, tmp_path, batch_size):
    outputs = [tmp_path / name for name in ('shown', 'geojson', 'cut')]
    expected = json.loads(infer(folder, 'dcn-k8-hint'))
    (folder / 'aa.png').write_bytes(b'no image')
    Image.new('L', (3, 1)).save(folder / 'd.png')
    printed = infer(
        folder,
        'dcn-k8-hint',
        *('--batch-size', batch_size),
        *('--out', tmp_path / 'results.json'),
        *('--show-dir', outputs[0], '--geojson', outputs[1], '--save-patches', outputs[2]),
        failed='2 of 5',
    )
    assert (tmp_path / 'results.json').read_text() == printed
    a, broken, b, c, small = json.loads(printed)
    assert list(broken) == list(small) == ['img_path', 'error']
    assert broken['img_path'] == str(folder / 'aa.png')
    assert 'aa.png is cut or cannot be read' in broken['error']
    assert 'd.png of 1×3 pixels cannot be classified' in small['error']
    for found, wanted in zip((a, b, c), expected, strict=True):
        assert found['pred_label'] == wanted['pred_label'] and found['cost'] == wanted['cost']
    for output in outputs:
        assert sorted(path.stem for path in output.iterdir()) == ['a', 'b', 'c']


def test_images_beside_one_that_fails_still_share_passes():
    class Inferencer:
        passes: list[int] = []

        def preprocess(self, images, batch_size):
            if 'broken' in images:
                raise ValueError('It is broken.')
            yield images

        def forward(self, images):
            self.passes.append(len(images))
            return [image.upper() for image in images]

    images = [*'abcdefghijk', 'broken', *'lmno']
    answers = tool.predict(Inferencer(), images, strict=False)
    assert answers == [*'ABCDEFGHIJK', 'It is broken.', *'LMNO']
    assert Inferencer.passes == [8, 2, 1, 4]
    with pytest.raises(ValueError, match='It is broken'):
        tool.predict(Inferencer(), images, strict=True)


def test_what_failed_is_on_the_standard_error_too(folder):
    (folder / 'd.png').write_bytes(b'no image')
    run = python(TOOL, folder, 'dcn-k8-hint')
    done = subprocess.run(**{**run, 'stderr': subprocess.PIPE}, timeout=300)
    assert done.returncode == 1
    *_, sentence, number = filter(None, done.stderr.splitlines())
    assert 'd.png is cut or cannot be read' in sentence
    assert number == '1 of 4 images failed; their results say why.'
    assert len(json.loads(done.stdout)) == 4


def test_an_image_whose_patches_cannot_be_cut_out_keeps_its_prediction(
    infer, tmp_path, monkeypatch
):
    def refuse(path):
        raise ValueError(f'The patches of {path} cannot be cut out.')

    monkeypatch.setattr('mmdcn.visualization.cutouts._read', refuse)
    args = (DEMO, 'dcn-k8-hint', '--save-patches', tmp_path)
    (result,) = json.loads(infer(*args, failed='1 of 1'))
    assert result['pred_label'] == 7 and 'cannot be cut out' in result['error']
    with pytest.raises(SystemExit, match='cannot be cut out'):
        infer(*args, '--strict')


def test_a_strict_run_stops_at_an_error_and_leaves_earlier_results(infer, folder, tmp_path):
    out = tmp_path / 'results.json'
    out.write_text('earlier')
    (folder / 'd.png').write_bytes(b'no image')
    with pytest.raises(SystemExit, match='The image .*d.png is cut or cannot be read'):
        infer(folder, 'dcn-k8-hint', '--out', out, '--strict')
    assert out.read_text() == 'earlier'


def test_many_images_have_one_progress_bar(infer, folder, monkeypatch):
    bars, start = [], Live.start
    monkeypatch.setattr(Live, 'start', lambda self, **how: [bars.append(self), start(self, **how)])
    infer(folder, 'dcn-k8-hint', '--batch-size', 2)
    assert len(bars) == 1
    infer(DEMO, 'dcn-k8-hint')
    assert len(bars) == 1


def test_the_file_of_results_is_complete_whenever_it_is_read(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(tool.time, 'monotonic', lambda: clock[0])
    out = tmp_path / 'results.json'
    out.write_text('earlier')
    results, held = tool.Results(out), []
    for place in range(12):
        results.add(dict(img_path=f'{place}.png', saliency=np.ones((2, 2))))
        held.append(out.read_text() if place < 2 else len(json.loads(out.read_text())))
        clock[0] += 2.6
    results.write()
    assert held == ['earlier', 'earlier', 3, 3, 5, 5, 7, 7, 9, 9, 11, 11]
    assert out.read_text() == results.as_json() and len(json.loads(out.read_text())) == 12
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_takes_long_to_write_is_written_less_often(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(tool.time, 'monotonic', lambda: clock[0])
    writes = []

    @contextmanager
    def slow(path):
        writes.append(clock[0])
        clock[0] += 10
        yield path

    monkeypatch.setattr(tool, 'replacing', slow)
    results = tool.Results(tmp_path / 'results.json')
    while clock[0] < 1000:
        results.add(dict())
        clock[0] += 1
    assert len(writes) == 5  # 200 seconds of other work after each


def test_a_full_disk_is_said_in_one_sentence_and_the_last_file_stays(infer, folder, tmp_path):
    out = tmp_path / 'results.json'
    out.write_text('earlier')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(SystemExit, match='results.json cannot be written .*: make room, or'):
            infer(folder, 'dcn-k8-hint', '--out', out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert out.read_text() == 'earlier'
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'a.png',
        'b.png',
        'c.png',
        'results.json',
    ]


@pytest.mark.parametrize('option', ['--out', '--show-dir', '--geojson', '--save-patches'])
def test_what_cannot_be_written_is_said_before_the_model_is_built(infer, tmp_path, option):
    (tmp_path / 'file').touch()
    target = tmp_path / 'file' / 'results.json' if option == '--out' else tmp_path / 'file'
    with pytest.raises(SystemExit, match='cannot be written, because .*file is not a folder'):
        infer(DEMO, 'no-such-model', option, target)


@pytest.mark.parametrize(
    'args, match',
    [
        (('none.png', 'dcn-k8-hint'), 'The image none.png is not there'),
        ((DEMO, 'dcn-k8-hnt'), "There is no model 'dcn-k8-hnt'; the nearest names are dcn-k8-hint"),
        ((DEMO, 'none.pth'), 'The checkpoint none.pth is not there'),
        ((DEMO, 'fine_1xb128-60e', '--checkpoint', WEIGHTS), 'is of another model'),
        ((DEMO, 'dcn-k8-hint', '--device', 'tpu9'), "The device 'tpu9' cannot be used"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(infer, args, match):
    with pytest.raises(SystemExit, match=match):
        infer(*args)


def test_another_suffix_than_json_is_refused(infer, capsys):
    with pytest.raises(SystemExit):
        infer(DEMO, 'dcn-k8-hint', '--out', 'results.txt')
    assert 'argument --out: writes a .json file, got results.txt.' in capsys.readouterr().err


def test_a_batch_holds_an_image_or_more(infer, capsys):
    with pytest.raises(SystemExit):
        infer(DEMO, 'dcn-k8-hint', '--batch-size', 0)
    assert 'argument --batch-size: must be a whole number of at least 1' in capsys.readouterr().err
