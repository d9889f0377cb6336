# ruff: noqa: INP001
"""Columns of one's own: this file travels in the notebook, so training and submission make them alike.

Cells are texts, exactly as in the file; an empty one is missing.
"""

import numpy as np
import pandas as pd

SPENT = ["RoomService", "FoodCourt", "ShoppingMall", "Spa", "VRDeck"]
PARTS = 8


def fit(table: pd.DataFrame) -> dict[str, list[float]]:
    """What `transform` must know of the training rows: where the ship is cut into parts with equally many passengers."""
    number = _cabin(table)["number"].dropna()
    cuts = number.quantile(np.arange(1, PARTS) / PARTS).tolist() if len(number) else []
    return {"cuts": cuts}


def transform(table: pd.DataFrame, state: dict[str, list[float]]) -> pd.DataFrame:
    """The same rows with other columns. It sees any rows, a single one, too: what it needs of others is in `state`."""
    cabin = _cabin(table)
    part = pd.Series(np.searchsorted(state["cuts"], cabin["number"]), index=table.index)
    bills = table[SPENT].apply(pd.to_numeric, errors="coerce")
    return table.drop(columns="Cabin").assign(
        deck=cabin["deck"],
        side=cabin["side"],
        part=part.where(cabin["number"].notna()),
        spent=bills.sum(axis=1),
        bills=(bills > 0).sum(axis=1),
    )


def _cabin(table: pd.DataFrame) -> pd.DataFrame:
    """`B/17/P`: deck, number and side."""
    pieces = table["Cabin"].str.split("/", expand=True).reindex(columns=range(3))
    return pieces.set_axis(["deck", "number", "side"], axis=1).assign(number=pd.to_numeric(pieces[1], errors="coerce"))
