"""Tests of builder/recipes."""
