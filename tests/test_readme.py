"""Runs what README.md shows."""

import re

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdcn import get_model
from mmdcn.registry import MODELS

from .conftest import ROOT

README = (ROOT / 'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'<!-- run by tests/test_readme.py -->\n```python\n(.*?)```', README, re.DOTALL)


def block(word: str) -> str:
    """The block in which a word stands."""
    (found,) = (block for block in BLOCKS if word in block)
    return found


def test_two_backbones_of_mmpretrain_make_a_dcn_of_a_megapixel_image(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(block('coarse_scale'))
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dcn = MODELS.build(cfg.model).eval()
    # The stride is MobileNet's 32 pixels of the small image.
    assert dcn.grid.stride == (128, 128)
    with torch.no_grad():
        (sample,) = dcn.predict(torch.rand(1, 3, 1000, 1500))
    assert sample.saliency.shape == (8, 12) and sample.patch_bboxes.shape == (10, 4)


def test_the_prediction_is_what_the_comments_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(block('DCNInferencer'), names)
    result = names['result']
    assert f'{result["pred_label"]}, {result["pred_score"]:.3f}' == '7, 1.000'
    assert result['patch_bboxes'].shape == (8, 4)
    assert result['cost']['total'] == 15939372


def test_any_two_backbones_make_a_dcn(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(block('MobileNetV3'))
    with torch.no_grad():
        (sample,) = get_model(config).predict(torch.rand(1, 3, 500, 700))
    assert sample.patch_bboxes.shape == (10, 4) and sample.pred_score.shape == (10,)


def test_every_path_and_make_target_that_a_page_names_exists():
    makefile = (ROOT / 'Makefile').read_text()
    for page in [
        ROOT / 'README.md',
        *ROOT.glob('results/README.md'),
        *ROOT.glob('docs/*.md'),
        *(ROOT / 'configs').glob('*/README.md'),
    ]:
        text = page.read_text(encoding='utf-8')
        for target in re.findall(r'`make ([\w-]+)`|^make ([\w-]+)', text, re.MULTILINE):
            name = re.sub('^matrix-.*', 'matrix-%', ''.join(target))
            assert f'\n{name}:' in makefile, name
        for path in re.findall(r'(?:tools|tests|configs)/[\w/.-]+\.(?:py|sh|md)', text):
            assert (ROOT / path).is_file(), path
        for link in re.findall(r'\]\((?!http)([^)#]+)', text):
            assert (page.parent / link).exists(), link
