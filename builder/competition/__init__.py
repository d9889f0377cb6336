"""A competition's files as they were downloaded: what they say about ids, targets, what is read, and the submission's form.

Reads; never writes, and never guesses silently: a person is shown what is proposed, and what contradicts kernel.toml is refused.
"""

from builder.competition.pictures import IMAGE_SUFFIXES
from builder.competition.proposing import Proposal, filled, propose
from builder.competition.rows import Rows, columns_of, image_name, train_rows
from builder.competition.tables import class_order, read_table

__all__ = [
    "IMAGE_SUFFIXES",
    "Proposal",
    "Rows",
    "class_order",
    "columns_of",
    "filled",
    "image_name",
    "propose",
    "read_table",
    "train_rows",
]
