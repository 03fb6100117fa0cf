"""Describe where a DCN looked as GeoJSON, which QuPath and GIS programs open."""

from typing import Any

# What a collection says of its image, under the names of DCNInferencer's results.
FACTS = ('img_path', 'pred_label', 'pred_class', 'pred_sequence', 'pred_score', 'cost')
PREDICTED = ('pred_class', 'pred_sequence', 'pred_label')  # the first that there is names patches


def to_geojson(result: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Turn a result of :class:`mmdcn.DCNInferencer` into a GeoJSON FeatureCollection.

    Each patch is a polygon in pixels of the image, x to the right and y down. Patches that reach
    outside of the image stay as they are. Without ``patch_bboxes`` there are no features.

    Args:
        result: The result of one image. Arrays may be lists, as in a file of results.
        size: (height, width) of the image in pixels.

    Returns:
        dict: Plain values for :func:`json.dump`. Each feature's ``properties`` hold the patch's
        ``rank``, 1 for the most salient, the ``saliency`` of its cell, and QuPath's ``objectType``
        and ``classification``, which is the predicted class or number. The collection's own
        ``properties`` hold the image's path, if it is a file, its ``height`` and ``width``, and
        the prediction and cost as in ``result``.
    """
    predicted = next(str(result[name]) for name in PREDICTED if name in result)
    boxes = result.get('patch_bboxes', ())
    saliency = result['patch_saliency'] if len(boxes) else ()
    height, width = size
    return dict(
        type='FeatureCollection',
        properties=dict(
            **{name: result[name] for name in FACTS if name in result}, height=height, width=width
        ),
        features=[
            dict(
                type='Feature',
                geometry=dict(type='Polygon', coordinates=[_ring(*map(float, box))]),
                properties=dict(
                    objectType='annotation',
                    classification=dict(name=predicted),
                    rank=rank,
                    saliency=float(value),
                ),
            )
            for rank, (box, value) in enumerate(zip(boxes, saliency, strict=True), start=1)
        ],
    )


def _ring(x1: float, y1: float, x2: float, y2: float) -> list[list[float]]:
    """Return the corners of a box, the first of them again at the end."""
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]
