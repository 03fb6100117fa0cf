"""Read the fields of data samples that a metric needs."""

from typing import Any

from mmengine.evaluator import BaseMetric


def field_of(sample: dict, name: str, metric: BaseMetric) -> Any:
    """Return a field of a data sample.

    Raises:
        ValueError: The sample does not have it.
    """
    if name in sample:
        return sample[name]
    kind = type(metric).__name__
    remedy = (
        f"pack it with PackInputs(algorithm_keys=('{name}', )) if the dataset has it, or remove "
        f'{kind} from the evaluator.'
        if name.startswith('gt_')
        else f'the model does not predict it, so remove {kind} from the evaluator.'
    )
    raise ValueError(f'{kind} needs {name}, which the data samples lack: {remedy}')
