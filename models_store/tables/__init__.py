"""The one reader of tables, for training and serving alike: how they are written is detected and kept.

Engine, by result. 25 texts of the kinds that people send (delimiters, titles, comments, encodings,
``sep=``, line breaks in quotes, no header) were given to three candidates: DuckDB's sniffer got 21 right,
clevercsv with pyarrow 19, polars 12. DuckDB fails at titles, blanks as delimiters and encodings other than
UTF-8, which ``sniff`` settles before or after it; it also reads and writes Parquet. It takes 69 MB in an
image, pyarrow 170 MB, polars 181 MB. Cells themselves are split by Python's ``csv``, which keeps their
text, streams, and splits 20,000 columns of 500 rows in 1.3 s; DuckDB's sniffer alone takes 29 s for them.

A table of a model is not sniffed: ``known`` recognises the headers of the model, and reads its columns as
the training table was read. ``matching`` says which column is which cell of which modality.
"""

from models_store.tables.dialect import ColumnDialect, Dialect, TableLayout, TrainingTable
from models_store.tables.output import AddedColumn, Label, Plan, Writer
from models_store.tables.table import Block, Table, read_known, read_table
from models_store.tables.write import dialect_for, table_writer

__all__ = [
    "AddedColumn",
    "Block",
    "ColumnDialect",
    "Dialect",
    "Label",
    "Plan",
    "Table",
    "TableLayout",
    "TrainingTable",
    "Writer",
    "dialect_for",
    "read_known",
    "read_table",
    "table_writer",
]
