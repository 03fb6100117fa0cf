from .dcn import DCNClassifier

__all__ = ['DCNClassifier']
