import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from mmdcn.structures import patch_hit


def pixels(box):
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


boxes = st.tuples(
    st.integers(-5, 20), st.integers(-5, 20), st.integers(1, 9), st.integers(1, 9)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(
    st.lists(boxes, min_size=1, max_size=4),
    st.lists(st.lists(boxes, max_size=3), min_size=1, max_size=3),
)
def test_a_patch_hits_where_it_shares_a_pixel_with_an_object(patches, objects):
    expected = [
        sum(any(pixels(patch) & pixels(box) for box in image) for patch in patches) / len(patches)
        for image in objects
    ]
    found = patch_hit(
        torch.tensor([patches] * len(objects)),
        [torch.tensor(image).reshape(-1, 4).float() for image in objects],
    )
    assert found.tolist() == pytest.approx(expected)


def test_no_patches_have_no_share_of_hits():
    assert patch_hit(torch.empty(2, 0, 4), [torch.rand(1, 4)] * 2).isnan().all()


@pytest.mark.parametrize(
    'hits, mean',
    [([(2, 2), (1, 2), (0, 2)], 50.0), ([(1, 1), (0, 0), (0, 2), (0, 0)], 50.0), ([(0, 0)], 0.0)],
)
def test_the_metric_is_the_mean_over_images_with_patches_in_percent(hits, mean):
    evaluator = Evaluator(dict(type='PatchHit'))
    for boxes_hit, number in hits:
        patches = [[0, 0, 4, 4]] * boxes_hit + [[50, 50, 60, 60]] * (number - boxes_hit)
        sample = DataSample()
        sample.set_field(torch.tensor(patches).reshape(-1, 4), 'patch_bboxes')
        sample.set_field(torch.tensor([[2.0, 2.0, 8.0, 8.0]]), 'gt_bboxes')
        evaluator.process(data_samples=[sample])
    assert evaluator.evaluate(len(hits)) == {'patch_hit/mean': mean}


@pytest.mark.parametrize(
    'field, remedy',
    [
        ('patch_bboxes', 'the model does not predict it, so remove PatchHit from the evaluator'),
        ('gt_bboxes', r"pack it with PackInputs\(algorithm_keys=\('gt_bboxes', \)\)"),
    ],
)
def test_a_field_that_is_missing_is_named(field, remedy):
    sample = DataSample()
    for name in {'patch_bboxes', 'gt_bboxes'} - {field}:
        sample.set_field(torch.rand(1, 4), name)
    with pytest.raises(ValueError, match=f'PatchHit needs {field}, which .*: {remedy}'):
        Evaluator(dict(type='PatchHit')).process(data_samples=[sample])
