from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from mmdcn.models import LateNormalization
from mmdcn.structures import PixelView, Windows

from .dcns import build_dcn

COLOURS = dict(mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 8.0], to_rgb=True)


def images(*sizes):
    return [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]


def test_what_is_normalised_late_is_what_is_normalised_at_once():
    batch = torch.stack(images((9, 7), (9, 7)))
    late = LateNormalization(**COLOURS)
    assert torch.equal(late(dict(inputs=batch))['inputs'], batch)
    at_once = ClsDataPreprocessor(**COLOURS)(dict(inputs=batch))['inputs']
    assert torch.equal(late.normalize(batch), at_once)


def test_images_are_stacked_and_one_image_is_not_copied():
    one, other = images((3, 5), (3, 5))
    stacked = LateNormalization()(dict(inputs=[one, other]))['inputs']
    assert torch.equal(stacked[0], one) and torch.equal(stacked[1], other)
    alone = LateNormalization()(dict(inputs=[one]))['inputs']
    assert alone.data_ptr() == one.data_ptr() and alone.shape == (1, 3, 3, 5)


def test_labels_are_prepared_as_ever():
    samples = [DataSample().set_gt_label(2)]
    late = LateNormalization(to_onehot=True, num_classes=4)
    data = late(dict(inputs=images((3, 3)), data_samples=samples), training=True)
    assert data['data_samples'][0].gt_score.tolist() == [0, 0, 1, 0]


def test_a_dcn_sees_the_same_whether_images_are_normalised_late_or_at_once():
    # Without a mean, for outside of the image late patches are 0 before normalisation.
    options = dict(mean=[0.0], std=[255.0])
    dcn = build_dcn(data_preprocessor=dict(type='ClsDataPreprocessor', **options)).eval()
    late = build_dcn(data_preprocessor=dict(type='LateNormalization', **options)).eval()
    late.load_state_dict(dcn.state_dict())
    batch = dict(inputs=torch.randint(256, (3, 1, 100, 100), dtype=torch.uint8))
    with torch.no_grad():
        expected = dcn(**dcn.data_preprocessor(batch))
        assert torch.equal(late(**late.data_preprocessor(batch)), expected)


# All types that numpy stores images in.
TYPES = 'uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 bool'.split()


@pytest.mark.parametrize('kind', TYPES)
@pytest.mark.parametrize('collate', [pseudo_collate, default_collate])
def test_images_of_any_type_give_the_pixels_of_floats_normalised_at_once(kind, collate):
    top = np.iinfo(kind).max if kind in ('int8', 'uint8', 'int16', 'uint16') else 2**24
    top = 1 if kind == 'bool' else 2000 if kind == 'float16' else top
    pixels = np.random.default_rng(0).integers(top, size=(2, 40, 30, 3), endpoint=True).astype(kind)
    batch = collate([PackInputs()(dict(img=image)) for image in pixels])
    options = dict(mean=[1.0, 2.0, 3.0], std=[float(top)] * 3, to_rgb=True)
    late, early = LateNormalization(**options), ClsDataPreprocessor(**options)
    found = PixelView(late(batch)['inputs'], late.normalize)
    floats = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    expected = PixelView(early(dict(inputs=floats))['inputs'])
    rounding = 1.01 / 255 if kind == 'uint8' else 1e-6
    close = partial(torch.testing.assert_close, atol=rounding, rtol=0)
    close(found.overview(0.5), expected.overview(0.5))
    close(found.overview(1 / 30), expected.overview(1 / 30))  # of a single pixel's width
    inside = Windows(torch.tensor([0, 1]), torch.tensor([[3, 5], [30, 20]]), (10, 9))
    close(found.cut(inside), expected.cut(inside))
    outside = Windows(torch.tensor([1]), torch.tensor([[-10, 0]]), (10, 9))
    assert torch.equal(found.cut(outside), late.normalize(torch.zeros(1, 3, 10, 9)))


def test_mixed_images_are_refused():
    with pytest.raises(TypeError, match='batch_augments'):
        LateNormalization(batch_augments=dict(augments='Mixup'))
    with pytest.raises(ValueError, match='which LateNormalization leaves for later: leave one of'):
        build_dcn(
            data_preprocessor=dict(type='LateNormalization'),
            train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
        )
