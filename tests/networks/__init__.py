"""Tests of builder/networks."""
