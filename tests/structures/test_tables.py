import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmdcn.structures.tables import made_once


def counted():
    calls = []

    @made_once
    def count_up(length):
        """Count."""
        calls.append(length)
        return torch.arange(length)

    return count_up, calls


def test_what_was_made_is_given_again():
    count_up, calls = counted()
    assert count_up(3) is count_up(3) and count_up(4).tolist() == [0, 1, 2, 3]
    assert calls == [3, 4] and count_up.__doc__ == 'Count.'


def test_a_tensor_without_values_is_not_kept():
    count_up, _ = counted()
    with FakeTensorMode():
        assert isinstance(count_up(3), FakeTensor)
    assert count_up(3).tolist() == [0, 1, 2]
    with FakeTensorMode():
        assert isinstance(count_up(3), FakeTensor)


def test_what_was_made_in_inference_mode_serves_training():
    count_up, calls = counted()
    with torch.inference_mode():
        count_up(3)
    weight = torch.ones(3, requires_grad=True)
    (weight * count_up(3)).sum().backward()
    assert weight.grad.tolist() == [0, 1, 2] and calls == [3]
