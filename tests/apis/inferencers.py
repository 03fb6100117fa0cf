"""Inferencers on small models with random weights."""

from mmdcn import DCNInferencer, get_model

from ..models.dcns import stir_statistics

# Settings of street-number models that make them slim.
SLIM_DCN = dict(
    coarse=dict(width=1 / 32),
    fine=dict(width=1 / 32),
    head=dict(in_channels=32),
    saliency=dict(head=dict(in_channels=32)),
)
SLIM_TOWER = dict(backbone=dict(width=1 / 32), head=dict(in_channels=32))


def untrained(name: str, **settings) -> DCNInferencer:
    model = get_model(name, **settings)
    stir_statistics(model)
    return DCNInferencer(model)
