"""Compare the classes of datasets, which give each name a number."""

from collections.abc import Iterable
from typing import Any

from mmdcn.utils.unwrap import unwrap


def class_names(dataset: Any) -> list[str] | None:
    """Return the names of a dataset's classes in the order of their labels, or None without any.

    Raises:
        ValueError: The dataset numbers its folders otherwise than the classes that it is given.
    """
    names = names_in(getattr(dataset, 'metainfo', None))
    for part in unwrap(dataset):
        folders = list(getattr(part, 'folder_to_idx', ()))
        if names and folders != names and sorted(folders) == sorted(names):
            raise ValueError(
                f'{type(part).__name__} numbers its folders in the order {_some(folders)}, but '
                f'classes=[...] names them in the order {_some(names)}: leave classes out, or '
                'label the images in an ann_file.'
            )
    return names


def names_in(metainfo: dict | None) -> list[str] | None:
    """Return the names of classes in a dataset's ``metainfo``, or None without any."""
    classes = (metainfo or {}).get('classes')
    return [str(name) for name in classes] if classes else None


def check_classes(known: list[str] | None, owner: str, found: list[str] | None, where: str) -> None:
    """Check that labels mean the same classes to a model and in a dataset, if both have names.

    Args:
        known: Names of the classes that the model learned.
        owner: Where the model learned them, for the message.
        found: Names of the dataset's classes.
        where: What the dataset is, for the message.

    Raises:
        ValueError: Names are missing, new or in another order.
    """
    if known is None or found is None or known == found:
        return
    missing = [name for name in known if name not in found]
    new = [name for name in found if name not in known]
    differences = [
        *([f'it lacks {_some(missing)}'] if missing else []),
        *([f'{owner} lacks {_some(new)}'] if new else []),
    ] or ['the same names are in another order']
    raise ValueError(
        f'The {where} set numbers classes otherwise than {owner}: {"; ".join(differences)}. '
        + _remedy(where)
    )


def check_number(number: int | None, found: list[str] | None, where: str) -> None:
    """Check that a head tells as many classes apart as a dataset has names for.

    Raises:
        ValueError: The numbers differ.
    """
    if number and found and number != len(found):
        raise ValueError(
            f'The head tells {number} classes apart, and the {where} set has {len(found)}: set '
            f'num_classes of the head to {len(found)} and train it, or complete the classes. '
            + _remedy(where)
        )


def _remedy(where: str) -> str:
    """Return how to give a dataset the classes of a model."""
    return (
        'Where folders are the classes, make an empty folder for each missing one; else give '
        f"{where}_dataloader.dataset the model's classes in their order as classes=[...], and "
        'labels that count in this order.'
    )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    rest = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(map(repr, names[:3])) + rest
