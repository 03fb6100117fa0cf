import json

import numpy as np
import pytest

from mmdcn.visualization.geojson import to_geojson


@pytest.fixture
def result() -> dict:
    """Of a DCN with two patches, one of which reaches outside."""
    return dict(
        img_path='a.png',
        pred_scores=np.array([0.25, 0.75], dtype=np.float32),
        pred_label=1,
        pred_class='scratched',
        pred_score=0.75,
        patch_bboxes=np.array([[-3, 2, 11, 16.5], [4, 0, 18, 14]], dtype=np.float32),
        patch_saliency=np.array([0.5, 0.125], dtype=np.float32),
        saliency=np.zeros((3, 3), dtype=np.float32),
        cost=dict(parts=dict(coarse=5, fine=2), total=7),
    )


def test_a_patch_is_a_closed_polygon_with_rank_saliency_and_class(result):
    first, second = to_geojson(result, (20, 30))['features']
    assert first == dict(
        type='Feature',
        geometry=dict(
            type='Polygon', coordinates=[[[-3, 2], [11, 2], [11, 16.5], [-3, 16.5], [-3, 2]]]
        ),
        properties=dict(
            objectType='annotation', classification=dict(name='scratched'), rank=1, saliency=0.5
        ),
    )
    assert second['properties']['rank'] == 2 and second['properties']['saliency'] == 0.125


def test_the_collection_says_which_image_of_what_size_was_predicted_and_what_it_cost(result):
    collection = to_geojson(result, (20, 30))
    assert collection['type'] == 'FeatureCollection'
    assert collection['properties'] == dict(
        img_path='a.png',
        pred_label=1,
        pred_class='scratched',
        pred_score=0.75,
        cost=dict(parts=dict(coarse=5, fine=2), total=7),
        height=20,
        width=30,
    )


def test_it_is_json_and_the_same_from_a_result_that_was_json(result):
    collection = to_geojson(result, (20, 30))
    assert json.loads(json.dumps(collection)) == collection
    read = json.loads(json.dumps(result, default=np.ndarray.tolist))
    assert to_geojson(read, (20, 30)) == collection


def test_without_a_name_the_class_is_its_label_or_the_number_that_was_read(result):
    del result['pred_class']
    (feature, _) = to_geojson(result, (20, 30))['features']
    assert feature['properties']['classification'] == dict(name='1')
    del result['pred_label']
    result['pred_sequence'] = '2038'
    collection = to_geojson(result, (20, 30))
    assert collection['features'][0]['properties']['classification'] == dict(name='2038')
    assert collection['properties']['pred_sequence'] == '2038'


@pytest.mark.parametrize('boxes', [None, np.empty((0, 4), dtype=np.float32)])
def test_no_patches_are_no_features(result, boxes):
    del result['patch_bboxes'], result['patch_saliency']
    if boxes is not None:
        result.update(patch_bboxes=boxes, patch_saliency=boxes[:, 0])
    assert to_geojson(result, (20, 30))['features'] == []
