import time

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmpretrain.models.utils.attention import scaled_dot_product_attention_pyimpl
from torch import nn
from torchvision.ops import DeformConv2d

from mmdcn.analysis import (
    count_multiplications,
    interleaved_times,
    multiplications_by_part,
    peak_memory,
)
from mmdcn.registry import MODELS
from mmdcn.structures import Cells, Measured
from mmdcn.utils.build import build_model

from ..conftest import ROOT
from ..models.dcns import ask_by_autograd, build_dcn

# Worked by hand: outputs × kernel × channels in × channels out.
COARSE_TOWER = 47 * 47 * 49 * 1 * 12 + 23 * 23 * 9 * 12 * 24
PATCH = 12 * 12 * 9 * 1 * 24 + 12 * 12 * 9 * 24 * 24 + 2 * 6 * 6 * 9 * 24 * 24 + 1 * 9 * 24 * 24
FINE_TOWER = (
    98 * 98 * 9 * 1 * 24 + 98 * 98 * 9 * 24 * 24 + 2 * 49 * 49 * 9 * 24 * 24 + 22 * 22 * 9 * 24 * 24
)
HEAD = 10 * 10 * 16 * 24 * 96 + 96 * 10
BACK = 96 * 10 + 96 * 16 * 24  # through the linear layer and one window a channel
CHANGE = 16 * 24 * 96  # one cell at all places of the kernel
LAST = 96 * 10  # the head's linear layer


def model_of(name):
    return build_model(
        Config.fromfile(ROOT / 'configs' / 'dcn' / f'{name}_1xb128-60e_cluttered-mnist.py')
    )


@pytest.mark.parametrize(
    'name, expected',
    [
        ('coarse', COARSE_TOWER + HEAD),
        ('fine', FINE_TOWER + HEAD),
        # The head runs on the coarse map, and on the changes of the refined one.
        ('dcn-k8', COARSE_TOWER + 8 * (PATCH + CHANGE) + HEAD + LAST + BACK),
        ('dcn-k24-hint', COARSE_TOWER + 24 * (PATCH + CHANGE) + HEAD + LAST + BACK),
        # The class's weights meet each of the head's 10×10 windows.
        ('dcn-k8-hint-class-activation', COARSE_TOWER + 8 * PATCH + 2 * HEAD + 96 * 10 * 10),
        ('dcn-k8-hint-activation-norm', COARSE_TOWER + 8 * PATCH + HEAD),
        ('dcn-k8-hint-random', COARSE_TOWER + 8 * PATCH + HEAD),
    ],
)
def test_counted_multiplications_are_the_hand_worked_ones(name, expected):
    assert count_multiplications(model_of(name), torch.rand(1, 1, 100, 100)) == expected


def test_the_figures_of_the_paper_protocol():
    assert (COARSE_TOWER, PATCH, FINE_TOWER, HEAD) == (2670060, 1156032, 79264224, 3687360)


def test_a_batch_costs_its_images():
    layer = nn.Linear(5, 7)
    assert count_multiplications(layer, torch.rand(3, 5)) == 3 * 5 * 7
    one, three = (multiplications_by_part(build_dcn(), torch.rand(n, 1, 100, 100)) for n in (1, 3))
    assert three == {part: 3 * cost for part, cost in one.items()}


@pytest.mark.parametrize(
    'name, expected',
    [
        ('coarse', [('backbone', COARSE_TOWER), ('head', HEAD)]),
        ('fine', [('backbone', FINE_TOWER), ('head', HEAD)]),
        (
            'dcn-k8',
            [
                ('coarse', COARSE_TOWER),
                ('head on coarse', HEAD),
                ('saliency', BACK),
                ('fine', 8 * PATCH),
                ('neck', 0),
                ('head on refined', 8 * CHANGE + LAST),
            ],
        ),
    ],
)
def test_each_part_costs_the_hand_worked_figure_and_stands_in_its_turn(name, expected):
    parts = multiplications_by_part(model_of(name), torch.rand(1, 1, 100, 100))
    assert list(parts.items()) == expected


def parts_of(**parts):
    return multiplications_by_part(build_dcn(**parts).eval(), torch.rand(1, 1, 100, 100))


def test_no_patch_leaves_the_fine_tower_without_work():
    assert parts_of(selector=dict(k=0)) == {
        'coarse': COARSE_TOWER,
        'head on coarse': HEAD,
        'saliency': BACK,
        'fine': 0,
        'neck': 0,
        'head on refined': LAST,
    }


def test_the_head_on_coarse_is_the_saliencys_own_where_it_has_one():
    own = dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24, mid_channels=5)
    parts = parts_of(saliency=dict(type='EntropyGradient', head=own))
    small = 10 * 10 * 16 * 24 * 5 + 5 * 10
    assert (parts['head on coarse'], parts['saliency']) == (small, 5 * 10 + 5 * 16 * 24)
    assert parts['head on refined'] == HEAD


def test_a_head_whose_entropy_calls_its_layers_only_is_told_from_the_way_back():
    parts = parts_of(
        saliency=dict(type='EntropyGradient', head=dict(type='SequenceHead', in_channels=24))
    )
    cells, digits = 23 * 23, 5 * 11  # and 5 lengths, which the entropy leaves out
    assert parts['head on coarse'] == cells * 24 * (5 + digits)
    assert parts['saliency'] == digits**2 * (24 + cells)  # W Wᵀ, and that at each cell


class ClosedForm(nn.Module):
    """Goes back without autograd, by every kind of matrix product."""

    def forward(self, coarse, head, data_samples=None):
        with torch.inference_mode():
            logits = head(coarse)
            back = torch.einsum('nc,cd->nd', logits, head.fc.weight)  # 10 × 96
            back = back + logits @ head.fc.weight  # 10 × 96
            back = back @ torch.ones(96)  # 96
            windows = back[:, None, None, None] * torch.ones(1, 96, 10, 10)
            cells = F.conv_transpose2d(windows, head.conv.conv.weight, stride=2)
            return Measured(F.pad(cells.norm(dim=1), (0, 1, 0, 1)).clone())


def test_a_closed_form_counts_as_saliency():
    dcn = build_dcn()
    dcn.saliency = ClosedForm()
    parts = multiplications_by_part(dcn, torch.rand(1, 1, 100, 100))
    assert parts['head on coarse'] == HEAD
    assert parts['saliency'] == 2 * 10 * 96 + 96 + 10 * 10 * 16 * 24 * 96
    assert parts['head on refined'] == HEAD


def test_a_dense_way_back_costs_as_much_as_the_way_there():
    dcn = build_dcn()
    dcn.saliency.ask = ask_by_autograd
    parts = multiplications_by_part(dcn, torch.rand(1, 1, 100, 100))
    assert parts['saliency'] == HEAD


TOKENS, WIDTH, WIDE = 16 * 16 + 1, 24, 96
PRODUCTS = 4 * TOKENS * WIDTH**2  # queries, keys, values and the projection
ATTENTION = 2 * TOKENS**2 * WIDTH  # scores, and the values that they weigh
MLP = 2 * TOKENS * WIDTH * WIDE


@pytest.mark.parametrize('inference', [False, True])
@pytest.mark.parametrize('fused', [False, True])
def test_a_vision_transformer_costs_the_hand_worked_figure(fused, inference):
    vit = MODELS.build(
        dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=WIDTH, num_layers=2, num_heads=3, feedforward_channels=WIDE),
            img_size=64,
            patch_size=4,
            in_channels=1,
            out_type='featmap',
        )
    )
    if not fused:
        for layer in vit.layers:
            layer.attn.scaled_dot_product_attention = scaled_dot_product_attention_pyimpl
    with torch.inference_mode(inference):
        found = count_multiplications(vit, torch.rand(1, 1, 64, 64))
    assert found == 64 * 64 * WIDTH + 2 * (PRODUCTS + ATTENTION + MLP)


def test_attention_in_windows_costs_the_hand_worked_figure():
    swin = MODELS.build(
        dict(
            type='mmpretrain.SwinTransformer',
            arch=dict(embed_dims=WIDTH, depths=[2], num_heads=[3]),
            out_indices=(0,),
            window_size=4,
            in_channels=1,
        )
    )
    tokens, window = 16 * 16, 4 * 4
    block = tokens * (4 * WIDTH**2 + 2 * window * WIDTH + 2 * WIDTH * 4 * WIDTH)
    assert count_multiplications(swin, torch.rand(1, 1, 64, 64)) == 64 * 64 * WIDTH + 2 * block


@pytest.mark.parametrize('inference', [False, True])
def test_the_layers_of_torch_that_have_a_fast_path_cost_the_hand_worked_figure(inference):
    tokens = torch.rand(2, TOKENS, WIDTH)
    layer = nn.TransformerEncoderLayer(WIDTH, 3, WIDE, batch_first=True)
    attention = nn.MultiheadAttention(WIDTH, 3, batch_first=True)
    with torch.inference_mode(inference):
        assert count_multiplications(layer, tokens) == 2 * (PRODUCTS + ATTENTION + MLP)
        found = count_multiplications(attention, tokens, key=tokens, value=tokens)
    assert found == 2 * (PRODUCTS + ATTENTION)


def test_the_gradient_through_attention_costs_five_products():
    class Gradient(nn.Module):
        def forward(self, tokens):
            with torch.enable_grad():
                tokens = tokens.clone().requires_grad_()
                out = F.scaled_dot_product_attention(tokens, tokens, tokens)
                return torch.autograd.grad(out.sum(), tokens)

    # Scores twice (they are not kept), and the gradients of queries, keys, values and weights.
    tokens = torch.rand(1, 3, TOKENS, WIDTH // 3)
    assert count_multiplications(Gradient(), tokens) == ATTENTION + ATTENTION // 2 * 5


@pytest.mark.parametrize('kind, gates', [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize('inference', [False, True])
def test_recurrent_layers_cost_their_weights_at_each_step(kind, gates, inference):
    with torch.inference_mode(inference):
        found = count_multiplications(kind(5, 7, num_layers=2), torch.rand(11, 3, 5))
    assert found == 11 * 3 * gates * ((5 * 7 + 7 * 7) + 2 * 7 * 7)


def test_a_deformable_convolution_costs_what_a_plain_one_does():
    conv = DeformConv2d(6, 8, 3, groups=2)
    inputs, offset = torch.rand(2, 6, 12, 12), torch.rand(2, 18, 10, 10)
    assert count_multiplications(conv, inputs, offset=offset) == 2 * 10 * 10 * 8 * 3 * 9


def test_products_in_place_count():
    class InPlace(nn.Module):
        def forward(self, inputs):
            torch.zeros(5, 7).addmm_(inputs, torch.ones(3, 7))
            return torch.zeros(5).addmv_(inputs, torch.ones(3))

    assert count_multiplications(InPlace(), torch.rand(5, 3)) == 5 * 3 * 7 + 5 * 3


@pytest.mark.parametrize(
    'call, name',
    [
        (lambda x: torch.cdist(x, x), 'aten::_euclidean_dist'),
        (lambda x: F.bilinear(x, x, torch.ones(2, 30, 30)), 'aten::_trilinear'),
        (lambda x: torch.linalg.inv(x), 'aten::linalg_inv_ex'),
        (lambda x: torch.fft.rfft2(x), 'aten::_fft_r2c'),
    ],
)
def test_an_operator_that_multiplies_and_has_no_formula_is_refused(call, name):
    class Calling(nn.Module):
        def forward(self, inputs):
            return call(inputs)

    with pytest.raises(ValueError, match=f'operator {name} cannot be counted'):
        count_multiplications(Calling(), torch.rand(30, 30))


def test_inference_mode_costs_the_same():
    dcn, image = build_dcn(), torch.rand(1, 1, 100, 100)
    expected = multiplications_by_part(dcn, image)
    with torch.inference_mode():
        assert multiplications_by_part(dcn, image) == expected


def test_a_selector_stands_among_the_parts_where_it_multiplies():
    class Multiplying(nn.Module):
        def forward(self, measured):
            flat = measured.saliency.flatten(1) @ torch.eye(23 * 23)
            return Cells.fixed(flat.topk(8).indices, measured.grid)

    dcn = build_dcn()
    dcn.selector = Multiplying()
    parts = multiplications_by_part(dcn, torch.rand(1, 1, 100, 100))
    assert parts['selector'] == (23 * 23) ** 2
    assert (
        sum(parts.values())
        == COARSE_TOWER + 8 * PATCH + HEAD + LAST + 8 * CHANGE + BACK + (23 * 23) ** 2
    )


def test_what_runs_in_no_child_is_elsewhere():
    assert multiplications_by_part(nn.Linear(5, 7), torch.rand(1, 5)) == {'elsewhere': 35}


class Permutation(torch.nn.Module):
    def forward(self, images):
        return torch.einsum('nchw->nwhc', images), torch.einsum(
            'nchw,c->nchw', images, images[0, :, 0, 0]
        )


def test_an_einsum_of_one_tensor_multiplies_nothing():
    assert multiplications_by_part(Permutation(), torch.rand(2, 3, 4, 5)) == {
        'elsewhere': 2 * 3 * 4 * 5
    }


def test_counting_leaves_no_hook_behind_even_where_the_model_fails():
    dcn = build_dcn()

    def hooks():
        return [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in dcn.modules()]

    before = hooks()
    multiplications_by_part(dcn, torch.rand(1, 1, 100, 100))
    with pytest.raises(ValueError, match='at least 11×11'):
        multiplications_by_part(dcn, torch.rand(1, 1, 9, 9))
    assert hooks() == before


def test_things_are_timed_in_turn_after_a_warm_up():
    calls = []
    runs = {
        'slow': lambda: (calls.append('slow'), time.sleep(0.06)),
        'fast': lambda: calls.append('fast'),
    }
    times = interleaved_times(runs, rounds=3, warm_up=2)
    assert calls == ['slow', 'fast', 'fast'] * 5  # the short one twice in its turn
    assert {name: len(values) for name, values in times.items()} == dict(slow=3, fast=3)
    assert min(times['slow']) >= 0.06 > max(times['fast'])


def test_peak_memory_is_what_was_held_at_a_time():
    def one_after_the_other():
        for _ in range(5):
            torch.empty(1000, 10).sum()

    assert peak_memory(lambda: torch.empty(1000, 10)) == 40_000
    assert 40_000 <= peak_memory(one_after_the_other) < 50_000
    assert 80_000 <= peak_memory(lambda: torch.ones(1000, 10) * 2) < 90_000
    assert peak_memory(lambda: None) == 0
