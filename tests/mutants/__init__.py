"""Mutation checks: one small change to the source at a time, and the tests must notice. `make mutants` writes the page."""
