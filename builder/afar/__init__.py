"""A rehearsal where it counts: on Kaggle's own machine, as a private kernel, before a submission is spent."""
