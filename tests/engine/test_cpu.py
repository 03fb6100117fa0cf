"""Training on CPUs: mixed precision learns as much, and freed memory stays with the process."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mmdcn.models import EntropySelector, SequenceHead, TopKSelector
from mmdcn.registry import DATASETS, MODELS, OPTIM_WRAPPERS

from ..models.dcns import build_dcn, labelled
from ..tools.running import run_python

DTYPES = ['bfloat16', 'float16']
HINT = dict(type='HintLoss', loss_weight=0.01)


def wrap(model: nn.Module, **options):
    return OPTIM_WRAPPERS.build(
        dict(
            type='CPUAmpOptimWrapper',
            optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
            **options,
        )
    )


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(
    'name', ['EntropyGradient', 'ClassActivation', 'InverseEntropy', 'ActivationNorm']
)
def test_a_coarse_map_is_asked_in_float32_under_autocast(name, dtype):
    coarse = torch.rand(6, 24, 23, 23)
    head = SequenceHead(in_channels=24) if name == 'InverseEntropy' else build_dcn().head
    measure, choose = MODELS.build(dict(type=name)), TopKSelector(k=8)
    expected = measure(coarse, head)
    cells = choose(expected).index
    with torch.autocast('cpu', getattr(torch, dtype)):
        found = measure(coarse, head)
        assert torch.equal(choose(found).index, cells)
    assert torch.equal(found.saliency, expected.saliency)
    if expected.entropy is not None:
        assert torch.equal(found.entropy, expected.entropy)
        choose = EntropySelector(k=8, threshold=float(expected.entropy.median()))
        with torch.autocast('cpu', getattr(torch, dtype)):
            budgets = choose(found).budgets.tolist()
        assert budgets == choose(expected).budgets.tolist() and set(budgets) == {0, 8}


@pytest.mark.parametrize('selector', [dict(type='EntropySelector', threshold=100.0), dict(k=0)])
@pytest.mark.parametrize('dtype', [None, *DTYPES])
def test_a_batch_without_a_patch_gives_the_fine_tower_gradients_of_zero(selector, dtype):
    dcn = build_dcn(selector=selector, losses=dict(hint=HINT)).train()
    before = {name: value.clone() for name, value in dcn.fine.named_buffers()}
    with torch.autocast('cpu', getattr(torch, dtype or 'float32'), enabled=dtype is not None):
        losses = dcn.loss(torch.rand(3, 1, 100, 100), labelled(3))
    dcn.parse_losses(losses)[0].backward()
    for weight in dcn.fine.parameters():  # None would be an unused parameter to other processes
        assert weight.grad is not None and not weight.grad.any()
    for name, value in dcn.fine.named_buffers():
        assert name.endswith('num_batches_tracked') or torch.equal(value, before[name])


def test_a_network_learns_in_bfloat16_what_it_learns_in_float32(mnist_root):
    dataset = DATASETS.build(
        dict(
            type='ClutteredMNIST',
            data_root=mnist_root,
            indices=32,
            pipeline=[dict(type='PackInputs', algorithm_keys=('gt_bboxes',))],
        )
    )
    samples = [dataset[index] for index in range(32)]
    batch = dict(
        inputs=torch.stack([sample['inputs'] for sample in samples]),
        data_samples=[sample['data_samples'] for sample in samples],
    )

    def final_loss(wrapper: str) -> float:
        torch.manual_seed(0)
        dcn = build_dcn(
            losses=dict(hint=HINT), data_preprocessor=dict(mean=[0.0], std=[255.0], num_classes=10)
        ).train()
        optimizer = torch.optim.Adam(dcn.parameters(), lr=6e-3)
        wrapper = OPTIM_WRAPPERS.build(dict(type=wrapper, optimizer=optimizer))
        losses = [dcn.train_step(batch, wrapper)['loss'].item() for _ in range(25)]
        assert losses[0] > 2
        return sum(losses[-5:]) / 5

    full = final_loss('OptimWrapper')
    half = final_loss('CPUAmpOptimWrapper')
    assert full < 0.6 and half == pytest.approx(full, rel=0.3)


@pytest.mark.parametrize('dtype', [None, *DTYPES])
def test_autocast_is_in_the_type_asked_for_and_weights_stay_in_float32(dtype):
    model = nn.Linear(3, 2)
    wrapper = wrap(model, **({} if dtype is None else dict(dtype=dtype)))
    with wrapper.optim_context(model):
        found = model(torch.rand(4, 3))
    assert found.dtype == getattr(torch, dtype or 'bfloat16')
    wrapper.update_params(found.float().sum())
    assert model.weight.dtype == torch.float32 and model.weight.isfinite().all()


@pytest.mark.parametrize('loss_scale', ['dynamic', 8, 8.0, dict(init_scale=8.0)])
def test_the_scale_of_the_loss_leaves_the_step_alone(loss_scale):
    model = nn.Linear(3, 2)
    before, inputs = model.weight.detach().clone(), torch.rand(4, 3)
    wrap(model, loss_scale=loss_scale).update_params(model(inputs).sum())
    torch.testing.assert_close(before - model.weight, inputs.sum(0).expand(2, 3))


def test_a_step_that_overflows_is_left_out_and_the_scale_falls():
    model = nn.Linear(3, 2)
    wrapper, before = wrap(model, loss_scale=dict(init_scale=64.0)), model.weight.detach().clone()
    wrapper.update_params(model(torch.full((1, 3), torch.inf)).sum())
    assert torch.equal(model.weight, before) and wrapper.loss_scaler.get_scale() == 32

    resumed = wrap(model)
    resumed.load_state_dict(wrapper.state_dict())
    assert resumed.loss_scaler.get_scale() == 32


def test_another_type_is_refused():
    with pytest.raises(ValueError, match=r'dtype=\.\.\.\) must be one of'):
        wrap(nn.Linear(3, 2), dtype='int8')


SCRIPT = """
import torch
from mmdcn.engine.cpu import keep_freed_memory

def resident():  # MB
    return int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6

def growth():
    before = resident()
    torch.ones(25_000_000)  # 100 MB, freed at once
    return resident() - before

returned = growth()
assert keep_freed_memory()
kept = growth()
assert returned < 10 and kept > 90, (returned, kept)
"""


def test_what_was_freed_is_kept_where_asked_for():
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_mixed_precision_on_cpus_is_found_by_mmpretrain_with_nothing_imported():
    printed = run_python(
        '-c',
        """
from mmpretrain.registry import OPTIM_WRAPPERS
print(OPTIM_WRAPPERS.get('mmdcn.CPUAmpOptimWrapper'))
""",
    )
    assert "<class 'mmdcn.engine.cpu.CPUAmpOptimWrapper'>" in printed
