"""Vectors of item texts: computed once per text and model, and read as an array.

Only texts that a night can read are encoded (see `texts_to_encode.sql`), and only facts that are new are looked at for
them (`considered.py`). What was encoded stays, so a night replayed reads the bytes it read then.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.enrichment.considered import keep, new_facts
from pipeline.enrichment.language_model import find_language_model, load_language_model
from pipeline.enrichment.reading import Reading
from pipeline.enrichment.series import registered_series
from pipeline.errors import ModelError
from pipeline.lake import Lake
from pipeline.models.base import Compute, Progress, silent
from pipeline.settings import Settings

_NEEDED = Path(__file__).with_name("texts_to_encode.sql").read_text(encoding="utf-8")
_TEXTS_PER_BATCH = 4096
"""Texts written at once: what a killed run loses at most."""


@dataclass(frozen=True)
class TextReport:
    """What `encode_items` or `encode_reviews` did.

    Attributes:
        model_id: language model and the hash of its files.
        texts: distinct texts that nights read, of those that new facts speak of; of reviews those encoded now.
        encoded: of them, encoded now; the others had a vector.
        reading: how well the model read those.
        seconds: duration.
        what: what texts they are.
    """

    model_id: str
    texts: int
    encoded: int
    reading: Reading
    seconds: float
    what: str = "item texts"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of the texts encoded now."""
        return self.reading.warnings(self.model_id, self.what)


def encode_items(
    lake: Lake, settings: Settings, *, compute: Compute | None = None, progress: Progress = silent
) -> TextReport:
    """Encode the item texts that have no vector of the home's language model yet.

    Args:
        lake: the home's lake.
        settings: the home's settings; `language_model` counts.
        compute: where the model runs; default: the CPU.
        progress: called with (what, done, of).

    Raises:
        ModelError: the model cannot be found or loaded.
    """
    start = time.monotonic()
    found = find_language_model(settings.language_model, home=lake.home)
    new = new_facts(lake, found.model_id, _NEEDED)
    if not new.anything:
        return TextReport(found.model_id, 0, 0, Reading(), time.monotonic() - start)
    with lake.connect() as con:
        for table, select in new.selects.items():
            con.execute(f'CREATE VIEW "{table}" AS {select}')
        lake.attach(con, "item_text_features")
        con.execute("SET VARIABLE model_id = $1::VARCHAR", [found.model_id])
        con.execute("SET VARIABLE summed_until = $1::DATE", [new.summed_until])
        needed = con.sql(_NEEDED).to_arrow_table()
    waiting = [
        (text, text_hash)
        for text, text_hash, is_encoded in zip(*(column.to_pylist() for column in needed.columns), strict=True)
        if not is_encoded
    ]
    reading = encode_texts(lake, settings, found.model_id, waiting, compute=compute, progress=progress)
    keep(lake, found.model_id, _NEEDED)
    return TextReport(found.model_id, needed.num_rows, len(waiting), reading, time.monotonic() - start)


def encode_texts(
    lake: Lake,
    settings: Settings,
    model_id: str,
    waiting: list[tuple[str, str]],
    *,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> Reading:
    """Write the vectors of texts that have none yet.

    Args:
        lake: the home's lake.
        settings: the home's settings; `language_model` counts.
        model_id: id of that model.
        waiting: texts, each with its hash.
        compute: where the model runs; default: the CPU.
        progress: called with (what, done, of).

    Returns:
        How well the model read them.

    Raises:
        ModelError: the model cannot be loaded.
    """
    reading = Reading()
    if waiting:
        model = load_language_model(settings.language_model, compute, home=lake.home)
        # like lengths together: the model fills up one batch per length (see `LanguageModel.encode`)
        waiting = sorted(waiting, key=lambda pair: (len(pair[0]), pair[1]))
        for first in range(0, len(waiting), _TEXTS_PER_BATCH):
            chunk = waiting[first : first + _TEXTS_PER_BATCH]
            texts = [text for text, _ in chunk]
            encoded = model.encode(texts, progress=_within(progress, first, len(waiting)))
            reading += encoded.reading
            _write(lake, model_id, chunk, encoded.vectors)
    return reading


def _within(progress: Progress, first: int, of: int) -> Progress:
    """The progress of a chunk as progress of the whole."""

    def report(what: str, done: int, _of: int) -> None:
        progress(what, first + done, of)

    return report


def _write(lake: Lake, model_id: str, chunk: Sequence[tuple[str, str]], vectors: NDArray[np.float32]) -> None:
    hashes = [text_hash for _, text_hash in chunk]
    batch = hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()[:32]
    offsets = np.arange(len(chunk) + 1, dtype=np.int32) * vectors.shape[1]
    table = pa.table(
        {
            "text_hash": pa.array(hashes, pa.string()),
            "item_text": pa.array([text for text, _ in chunk], pa.string()),
            "vector": pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel())),
        }
    )
    with lake.connect() as con:
        lake.write(con, "item_text_features", {"model_id": model_id, "batch": batch}, table)


def some_texts(lake: Lake, most: int) -> list[str]:
    """Item texts that were encoded, with any model: all, or a draw of as many as asked for.

    Args:
        lake: the home's lake.
        most: texts, at most.
    """
    if not lake.partitions("item_text_features"):
        return []
    with lake.connect() as con:
        lake.attach(con, "item_text_features")
        # the hash of a text is as good as chance, and the same every time
        query = "SELECT item_text FROM item_text_features GROUP BY text_hash, item_text ORDER BY text_hash LIMIT $1"
        return [text for (text,) in con.execute(query, [most]).fetchall()]


def text_array(
    con: duckdb.DuckDBPyConnection, item_ids: Sequence[str] | NDArray[np.str_], model_id: str
) -> NDArray[np.float32]:
    """Vectors of the items' texts as known on the night of the view.

    Args:
        con: connection of an as-of view.
        item_ids: (S,) items.
        model_id: language model, as in `TextReport.model_id`.

    Returns:
        (S, D) float32, zeros where an item has no text or its text no vector; D = 0 without any vector of the model.

    Raises:
        ModelError: the lake holds vectors of several lengths under one model.
    """
    least, width = con.execute(
        "SELECT coalesce(min(len(vector)), 0), coalesce(max(len(vector)), 0) FROM item_text_features WHERE model_id = $1",
        [model_id],
    ).fetchall()[0]
    if least != width:
        raise ModelError(
            f"lake/item_text_features: the folder of {model_id} holds vectors of {least} and of {width} numbers, and a model "
            "makes one kind: files were copied there by hand. Remove that folder; the next run encodes its texts again"
        )
    vectors = np.zeros((len(item_ids), int(width)), dtype=np.float32)
    with registered_series(con, item_ids, [""] * len(item_ids)) as series:
        # each text's vector once: many items of a shop share a text
        rows = con.sql(
            f"SELECT list(s.number) AS numbers, any_value(f.vector) AS vector FROM {series} AS s "
            "INNER JOIN items AS i ON s.item_id = i.item_id INNER JOIN item_text_features AS f USING (text_hash) "
            "WHERE f.model_id = $1 GROUP BY text_hash",
            params=[model_id],
        ).to_arrow_table()
    for batch in rows.to_batches():
        numbers = batch.column("numbers")
        found = batch.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(-1, int(width))
        lengths = np.diff(numbers.offsets.to_numpy())
        vectors[numbers.flatten().to_numpy()] = np.repeat(found, lengths, axis=0)
    return vectors
