"""Upgrade the configs in checkpoints of version 0.1.0."""

from typing import Any


def upgrade(config: Any) -> Any:
    """Return a config with today's names, at any depth.

    ``patch_extractor`` became ``grid`` and ``hint`` became one of the ``losses`` of a
    ``DCNClassifier``. ``OracleCells`` now gets the grid of the DCN. The names of weights stayed.

    Args:
        config: A dict, a list or a plain value. It is not changed.
    """
    if isinstance(config, (list, tuple)):
        return type(config)(map(upgrade, config))
    if not isinstance(config, dict):
        return config
    config = {key: upgrade(value) for key, value in config.items()}
    kind = str(config.get('type')).rpartition('.')[2]
    if kind == 'OracleCells':
        config.pop('patch_extractor', None)
    if kind != 'DCNClassifier':
        return config
    if 'patch_extractor' in config:
        grid = config.pop('patch_extractor')
        config['grid'] = {**grid, 'type': grid['type'].replace('PatchExtractor', 'PatchGrid')}
    if 'hint' in config:
        hint = config.pop('hint')
        patch_hit = dict(type=hint['type'].replace('HintLoss', 'PatchHitRate'))
        config['losses'] = dict(hint=hint, patch_hit=patch_hit)
    return config
