"""kaggle-kernel-builder: from data to a scored Kaggle submission. Start at builder/README.md."""

__version__ = "0.1.0"
