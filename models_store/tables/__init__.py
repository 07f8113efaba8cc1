"""The one reader of tables, for training and serving alike: how they are written is found out and kept.

Engine, by result. 25 texts of the kinds that people send (delimiters, titles, comments, encodings,
``sep=``, line breaks in quotes, no header) were given to three candidates: DuckDB's sniffer got 21 right,
clevercsv with pyarrow 19, polars 12. DuckDB fails at titles, blanks as delimiters and encodings other than
UTF-8, which ``sniff`` settles before or after it; it also reads and writes Parquet. It takes 69 MB in an
image, pyarrow 170 MB, polars 181 MB. Cells themselves are split by Python's ``csv``, which keeps their
text, streams, and splits 20,000 columns of 500 rows in 1.3 s; DuckDB's sniffer alone takes 29 s for them.
"""

from models_store.tables.dialect import ColumnDialect, Dialect
from models_store.tables.table import Block, Table, read_table
from models_store.tables.write import write_table

__all__ = ["Block", "ColumnDialect", "Dialect", "Table", "read_table", "write_table"]
