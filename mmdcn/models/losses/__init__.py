from .hint import HintLoss

__all__ = ['HintLoss']
