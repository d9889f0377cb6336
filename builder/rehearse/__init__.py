"""Runs a notebook as Kaggle would: in a sandbox, offline, under limits, with inputs where Kaggle mounts them."""
