from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdcn.models import EntropyGradient, GlobalMaxPoolHead, SequenceHead
from mmdcn.models.heads.entropy import entropy_and_gradient_norm_by_autograd
from mmdcn.models.heads.global_max_pool_head import scatter_windows
from mmdcn.models.saliency.head_reading import evaluation_mode
from mmdcn.registry import MODELS

from .dcns import ask_by_autograd, build_dcn, stir_statistics


@pytest.fixture
def head():
    head = GlobalMaxPoolHead(num_classes=10, in_channels=24)
    stir_statistics(head)
    return head


def entropy_by_hand(logits):
    p = torch.exp(logits - logits.max()) / torch.exp(logits - logits.max()).sum()
    return -sum(p[label] * torch.log(p[label]) for label in range(len(p)))


def test_saliency_equals_finite_differences_of_the_entropy(head):
    head = head.double().eval()
    coarse = torch.rand(1, 24, 7, 7, dtype=torch.float64)
    saliency = EntropyGradient()(coarse, head).saliency
    step = 1e-6
    for row, column in ((0, 0), (2, 3), (3, 5), (5, 4), (6, 6)):
        differences = []
        for channel in range(24):
            entropies = []
            for sign in (1, -1):
                moved = coarse.clone()
                moved[0, channel, row, column] += sign * step
                with torch.no_grad():
                    entropies.append(entropy_by_hand(head(moved)[0]))
            differences.append((entropies[0] - entropies[1]) / (2 * step))
        expected = torch.stack(differences).norm()
        torch.testing.assert_close(saliency[0, row, column], expected, rtol=1e-5, atol=1e-9)


def test_saliency_equals_one_backward_pass_an_image(head):
    coarse = torch.rand(5, 24, 23, 23)
    saliency = EntropyGradient()(coarse, head).saliency
    head.eval()
    for image, found in zip(coarse, saliency, strict=True):
        image = image.unsqueeze(0).requires_grad_()
        entropy_by_hand(head(image)[0]).backward()
        torch.testing.assert_close(
            found, image.grad[0].square().sum(0).sqrt(), rtol=1e-4, atol=1e-7
        )


@pytest.mark.parametrize('training', [True, False])
def test_saliency_of_an_image_ignores_the_others_of_its_batch(head, training):
    head.train(training)
    coarse = torch.rand(6, 24, 23, 23)
    together = EntropyGradient()(coarse, head).saliency
    alone = EntropyGradient()(coarse[2:3], head).saliency
    torch.testing.assert_close(together[2:3], alone, rtol=1e-4, atol=1e-7)
    others = torch.cat([5 * torch.rand(2, 24, 23, 23), coarse[2:3]])
    crowded = EntropyGradient()(others, head).saliency[2:]
    torch.testing.assert_close(crowded, alone, rtol=1e-4, atol=1e-7)


def test_saliency_leaves_no_trace_in_a_training_head(head):
    head.train()
    head.conv.bn.eval()  # as a frozen norm
    before = {name: value.clone() for name, value in head.state_dict().items()}
    coarse = torch.rand(4, 24, 23, 23, requires_grad=True)
    saliency = EntropyGradient()(coarse, head).saliency
    assert not saliency.requires_grad
    assert coarse.grad is None
    assert all(weight.grad is None for weight in head.parameters())
    for name, value in head.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert head.training and head.conv.training and not head.conv.bn.training


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_saliency_works_where_gradients_are_off(head, context):
    coarse = torch.rand(2, 24, 23, 23)
    expected = EntropyGradient()(coarse, head).saliency
    with context():
        found = EntropyGradient()(coarse * 1, head).saliency
    assert torch.equal(found, expected)


def test_saliency_is_computed_in_float32_under_autocast(head):
    coarse = torch.rand(2, 24, 23, 23).bfloat16()
    seen = []
    head.conv.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        saliency = EntropyGradient()(coarse, head).saliency
    assert seen == [torch.float32] and saliency.dtype == torch.float32
    assert torch.equal(saliency, EntropyGradient()(coarse.float(), head).saliency)


@pytest.mark.parametrize('known', [True, False])
def test_the_entropy_of_the_coarse_prediction_comes_along(head, known):
    saliency = EntropyGradient()
    if not known:
        saliency.ask = ask_by_autograd
    coarse = torch.rand(3, 24, 23, 23)
    entropy = saliency(coarse, head.train()).entropy
    assert entropy.shape == (3,) and not entropy.requires_grad
    with torch.no_grad():
        logits = head.eval()(coarse)
    torch.testing.assert_close(entropy, torch.stack([entropy_by_hand(one) for one in logits]))


def test_modes_come_back_when_the_head_fails():
    head = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3).eval())
    with pytest.raises(RuntimeError, match='fails'), evaluation_mode(head):
        assert not head[0].training
        raise RuntimeError('fails')
    assert head.training and head[0].training and not head[1].training


class TestCheck:
    """What a head cannot tell is said when a model is built."""

    @pytest.mark.parametrize(
        'saliency, contract, known_by',
        [
            ('EntropyGradient', 'HasEntropy', 'GlobalMaxPoolHead'),
            ('ClassActivation', 'HasClassActivation', 'GlobalMaxPoolHead, or MapHead with a'),
            ('InverseEntropy', 'HasCertainty', 'SequenceHead'),
        ],
    )
    def test_a_head_that_lacks_what_is_asked_is_named(self, saliency, contract, known_by):
        with pytest.raises(
            ValueError,
            match=f'{saliency} needs a head that keeps the contract {contract} of '
            f'mmdcn.models.contracts, which LinearClsHead does not: use {known_by}',
        ):
            build_dcn(
                saliency=dict(type=saliency),
                head=MODELS.build(dict(type='LinearClsHead', num_classes=3, in_channels=24)),
            )

    def test_the_head_given_to_the_saliency_is_the_one_that_is_asked(self, head):
        saliency = EntropyGradient(head=head)
        saliency.check(nn.Identity())
        with pytest.raises(ValueError, match='which Identity does not'):
            EntropyGradient(head=nn.Identity()).check(head)

    def test_a_head_that_is_sure_of_any_map_of_usual_strength_is_taken(self, head):
        torch.nn.init.normal_(head.fc.weight, std=30.0)
        EntropyGradient().check(head)

    @pytest.mark.parametrize('head_type', ['GlobalMaxPoolHead', 'GlobalSumPoolHead'])
    def test_a_single_class_leaves_no_entropy(self, head_type):
        with pytest.raises(
            ValueError,
            match=f'EntropyGradient cannot tell the cells apart with this {head_type}: its entropy '
            'has the same gradient in every cell, as under a global average .* or with a single '
            'class. Use ClassActivation',
        ):
            EntropyGradient().check(
                MODELS.build(dict(type=head_type, num_classes=1, in_channels=4))
            )

    def test_a_check_leaves_no_trace_and_draws_no_random_number(self, head):
        before = {name: value.clone() for name, value in head.state_dict().items()}
        state = torch.get_rng_state()
        EntropyGradient().check(head.train())
        assert torch.equal(torch.get_rng_state(), state) and head.training
        assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


class TestClosedForms:
    """Heads that know the gradient of their entropy agree with autograd."""

    HEADS = {
        'as the paper': dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=6),
        'kernel not of whole strides': dict(
            type='GlobalMaxPoolHead',
            num_classes=3,
            in_channels=6,
            mid_channels=7,
            kernel_size=3,
            stride=2,
        ),
        'stride beyond the kernel': dict(
            type='GlobalMaxPoolHead', num_classes=3, in_channels=6, kernel_size=2, stride=3
        ),
        'no norm': dict(type='GlobalMaxPoolHead', num_classes=4, in_channels=6, norm_cfg=None),
        'group norm': dict(
            type='GlobalMaxPoolHead',
            num_classes=4,
            in_channels=6,
            norm_cfg=dict(type='GN', num_groups=4),
        ),
        'sum': dict(type='GlobalSumPoolHead', num_classes=5, in_channels=6, mid_channels=8),
        'sum, no norm': dict(type='GlobalSumPoolHead', num_classes=5, in_channels=6, norm_cfg=None),
        'average': dict(type='SequenceHead', in_channels=6),
        'inverse entropy': dict(type='SequenceHead', in_channels=6, pooling='inverse_entropy'),
        'windows': dict(type='SequenceHead', in_channels=6, window=(2, 3)),
        'weighted windows': dict(
            type='SequenceHead', in_channels=6, window=(3, 2), pooling='inverse_entropy'
        ),
    }

    @pytest.fixture(params=HEADS.values(), ids=HEADS)
    def head(self, request):
        head = MODELS.build(request.param).double().eval()
        stir_statistics(head)
        for weight in head.parameters():
            nn.init.normal_(weight, std=0.2)
        return head

    @pytest.mark.parametrize('dtype, rtol', [(torch.float64, 1e-10), (torch.float32, 1e-5)])
    @pytest.mark.parametrize('size', [(4, 4), (9, 7), (23, 23)])
    def test_they_equal_autograd(self, head, dtype, rtol, size):
        feats = torch.randn(3, 6, *size, dtype=dtype)
        head = head.to(dtype)
        closed, exact = by_closed_form_and_by_autograd(head, feats)
        assert closed.shape == (3, *size) and not closed.requires_grad
        assert_close_in_norm(closed, exact, rtol)

    def test_ties_are_broken_alike(self, head):
        feats = torch.randn(2, 6, 1, 1, dtype=torch.float64).expand(2, 6, 9, 8).clone()
        feats[:, :, :, 4:] = 0
        assert_close_in_norm(*by_closed_form_and_by_autograd(head, feats), 1e-10)

    def test_patches_maps_are_as_good(self):
        head = SequenceHead(in_channels=6, window=(2, 3), pooling='inverse_entropy').double()
        feats = torch.randn(2, 6, 4, 3, 5, dtype=torch.float64)
        assert_close_in_norm(*by_closed_form_and_by_autograd(head, feats), 1e-10)

    def test_a_head_that_is_sure_of_some_places_agrees(self):
        head = SequenceHead(in_channels=6, pooling='inverse_entropy').double()
        feats = torch.randn(2, 6, 3, 3, dtype=torch.float64)
        feats[:, :, 0] *= 1e6
        closed, exact = by_closed_form_and_by_autograd(head, feats)
        assert closed.isfinite().all()
        assert_close_in_norm(closed, exact, 1e-8)

    def test_what_the_weights_of_a_digit_share_makes_no_noise(self):
        head = SequenceHead(in_channels=6)
        with torch.no_grad():
            shared = 100 * torch.randn(head.max_length, 6, 1)
            head.classifier.weight[head.max_length :] += shared.repeat_interleave(11, dim=0)
        feats = torch.randn(2, 6, 9, 7) / 100
        closed = head.entropy_and_gradient_norm(feats)[1]
        exact = entropy_and_gradient_norm_by_autograd(head.double(), feats.double())[1]
        assert_close_in_norm(closed, exact, 1e-4)

    @pytest.mark.parametrize(
        'kernel, stride, size',
        [
            ((4, 4), (2, 2), (23, 23)),
            ((3, 2), (2, 3), (8, 9)),
            ((2, 5), (1, 2), (6, 12)),
            ((1, 1), (3, 1), (7, 4)),
            ((3, 3), (1, 1), (3, 3)),
        ],
    )
    def test_scattered_windows_are_a_transposed_convolution(self, kernel, stride, size):
        weight = torch.randn(5, 3, *kernel, dtype=torch.float64)
        grid = [(n - k) // s + 1 for n, k, s in zip(size, kernel, stride, strict=True)]
        windows = torch.randint(grid[0] * grid[1], (4, 5))
        values = torch.randn(4, 5, dtype=torch.float64)
        dense = values.new_zeros(4, 5, grid[0] * grid[1]).scatter_(
            2, windows[..., None], values[..., None]
        )
        expected = F.conv_transpose2d(dense.unflatten(2, grid), weight, stride=stride)
        left_out = [n - m for n, m in zip(size, expected.shape[2:], strict=True)]
        torch.testing.assert_close(
            scatter_windows(values, windows, weight, stride, size),
            F.pad(expected, (0, left_out[1], 0, left_out[0])),
        )

    def test_a_shut_relu_and_a_sure_head_have_no_gradient(self):
        head = GlobalMaxPoolHead(num_classes=3, in_channels=6).eval()
        nn.init.constant_(head.conv.bn.bias, -100)
        assert not head.entropy_and_gradient_norm(torch.rand(2, 6, 9, 9))[1].any()

    def test_no_graph_is_built_where_they_are_known(self):
        coarse = torch.rand(2, 24, 23, 23)
        head = GlobalMaxPoolHead(num_classes=10, in_channels=24)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.autograd, 'grad', None)
            assert EntropyGradient()(coarse, head).saliency.shape == (2, 23, 23)


def by_closed_form_and_by_autograd(head, feats):
    """The gradient's norms both ways; the entropies that come along must be the head's."""
    (known, closed), (found, exact) = (
        closed_form(feats)
        for closed_form in (
            head.entropy_and_gradient_norm,
            partial(entropy_and_gradient_norm_by_autograd, head),
        )
    )
    for entropy in (known, found):
        assert not entropy.requires_grad
        torch.testing.assert_close(entropy, head.entropy(feats).detach())
    return closed, exact


def assert_close_in_norm(found, expected, rtol):
    """Small numbers next to large ones of the same vector have their rounding."""
    assert (found - expected).norm() <= rtol * expected.norm()
