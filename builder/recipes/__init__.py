"""Recipes: what is fitted on the cells of all training rows, never on a target, so that home and notebook read cells alike."""
