"""Checks the figures of metafiles and READMEs that a machine can compute."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mmdcn.analysis import count_multiplications, with_full_budgets
from mmdcn.utils.build import build_model

from .conftest import ROOT
from .registered import CONFIGS

METAFILES = sorted((ROOT / 'configs').glob('*/metafile.yml'))
MODELS = [model for path in METAFILES for model in yaml.safe_load(path.read_text())['Models']]


def test_every_config_stands_in_a_metafile():
    assert sorted(model['Config'] for model in MODELS) == [
        str(path.relative_to(ROOT)) for path in CONFIGS
    ]


@pytest.mark.parametrize('entry', MODELS, ids=lambda entry: entry['Name'])
def test_an_entry_is_named_after_its_config(entry):
    assert entry['Name'] == Path(entry['Config']).stem


@pytest.mark.parametrize(
    'entry', [model for model in MODELS if 'Metadata' in model], ids=lambda entry: entry['Name']
)
def test_cost_and_size_of_a_model_are_those_of_its_config(entry):
    path, metadata = ROOT / entry['Config'], entry['Metadata']
    model = with_full_budgets(build_model(Config.fromfile(path)))  # at most
    boxed = DataSample(gt_bboxes=torch.tensor([[0.0, 0.0, 28.0, 28.0]]))
    shape = map(int, metadata['Input size'].split('x'))  # a list of numbers stops `mim search`
    cost = count_multiplications(model, torch.rand(1, *shape), data_samples=[boxed])
    size = sum(weight.numel() for weight in model.parameters())
    assert (metadata['FLOPs'], metadata['Parameters']) == (cost, size)
    row = re.search(rf'\({path.name}\).*', (path.parent / 'README.md').read_text()).group()
    assert f'| {cost:,} | {size:,} |' in row
