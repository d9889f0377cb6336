"""Tables as they are written, and the order of classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    Table = pd.DataFrame


def read_table(path: Path) -> pd.DataFrame:
    """A csv file with every value as text, exactly as written (`007` stays `007`), or a parquet file with every value as text.

    Raises UserError when it can't be read.
    """
    import pandas as pd

    from builder.runtime.inputs import PARQUET, texts

    remedy = "download the competition's files (kkb fetch NAME), or set data.root in kernel.toml"
    if not path.is_file():
        raise UserError("missing file", file=path, expected="a csv or parquet table", remedy=remedy)
    try:
        table = texts(pd.read_parquet(path)) if path.suffix == PARQUET else pd.read_csv(path, dtype=str, keep_default_na=False)
    except ImportError as error:
        raise UserError("nothing here reads parquet files", file=path, found=error, remedy="pip install pyarrow") from None
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"not a readable {path.suffix[1:] or 'csv'} table", file=path, found=error, remedy=remedy) from None
    table.columns = [str(name) for name in table.columns]
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes a first cell that has no name for the row's own
        raise UserError("rows have more cells than the header", file=path, found=", ".join(table.columns), remedy=remedy)
    if not len(table.columns):
        raise UserError("the table has no columns", file=path, remedy=remedy)
    return table


def class_order(labels: pd.Series[str]) -> tuple[str, ...]:
    """The distinct labels, in numeric order when all are whole numbers, else in alphabetical order."""
    distinct = sorted(set(labels))
    if all(re.fullmatch(r"-?[0-9]+", label) for label in distinct):
        distinct.sort(key=int)
    return tuple(distinct)
