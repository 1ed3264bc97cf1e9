"""The output of ``skinlesion score``: numbered Parquet files, and ``_score.json``, which records their origin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from skinlesion.core.errors import ImageError, SkinLesionError
from skinlesion.core.storage import Folder
from skinlesion.serving.listing import Item, Survey
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Prediction

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise SkinLesionError("scoring needs pyarrow; pip install 'skin-lesion-lab[scale]'") from None

RECORD = "_score.json"  # readers of a folder of Parquet files pass over what begins with an underscore
RULES = (  # of a manifest
    "labels", "outputs", "temperature", "prior_shift", "decision_weights", "referral", "melanoma_level", "domain",
    "prediction_set",
)  # fmt: skip
# Some 400 parts keep many machines busy to the end; fewer images are not worth a file, more too much to lose.
PARTS, SMALLEST, LARGEST = 400, 50, 5_000


@dataclass(frozen=True)
class Plan:
    """How the images of a source are cut into parts, and what they are scored by."""

    images: int
    part_size: int  # images in every part but the last
    fingerprint: str  # over the images' names, sizes and times
    #: ``name``, ``version`` and ``sha256``, and ``rules``, a hash over all that turns its output into a prediction
    model: dict

    @classmethod
    def of(cls, survey: Survey, manifest: Manifest) -> Plan:
        """The plan for the images of ``survey``, whose number alone decides how many make a part."""
        part_size = min(max(survey.images // PARTS, SMALLEST), LARGEST)
        rules = json.dumps({name: manifest.content[name] for name in RULES}, sort_keys=True)
        model = manifest.identity | {"rules": hashlib.sha256(rules.encode()).hexdigest()}
        return cls(survey.images, part_size, survey.fingerprint, model)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.images // self.part_size)

    def size(self, number: int) -> int:
        """Images in a part."""
        return min(self.part_size, self.images - number * self.part_size)

    def record(self, folder: Folder) -> None:
        """Write the plan into the folder; where there is one, check that it is the same.

        Raises SkinLesionError if it is not: scores of two sources or models must not get mixed.
        """
        there = folder.names()  # first: parts are only written once there is a record
        written = folder.read(RECORD)
        if written is None:
            if any(name.startswith("part-") and name.endswith(".parquet") for name in there):
                raise SkinLesionError(f"{folder} holds parts without {RECORD}; choose another --output, or empty it")
            folder.write(RECORD, (json.dumps(asdict(self), indent=2) + "\n").encode())
            return
        try:
            before = Plan(**json.loads(written))
            what = f"of {before.images:,} images, which are not these {self.images:,} any more"
            known = f"{before.model.get('name')} {before.model.get('version')}"
        except (ValueError, TypeError, AttributeError):
            raise SkinLesionError(f"{folder} holds a damaged {RECORD}; choose another --output, or empty it") from None
        if before == self:
            return
        changed = "images"
        if before.model != self.model:
            changed, what = "model", f"by {known}, which is not this model"
        raise SkinLesionError(
            f"{folder} holds scores {what}; choose another --output, use the same {changed} as before, or empty it"
        )


def file_name(number: int) -> str:
    """What a part is called."""
    return f"part-{number:06}.parquet"


def finished(folder: Folder, plan: Plan, numbers: Iterable[int]) -> dict[int, int]:
    """Which of these parts are there and whole: {part: images that failed}."""
    there, found = folder.names(), {}
    for number in numbers:
        if file_name(number) in there:
            try:
                with folder.files.open(folder.path(file_name(number)), "rb") as file:
                    footer = pq.ParquetFile(file).metadata
            except (OSError, pa.ArrowInvalid):  # torn, at a place that shows half-written files: scored again
                continue
            if footer.num_rows == plan.size(number):
                found[number] = sum(_failed(footer.row_group(i)) for i in range(footer.num_row_groups))
    return found


def _failed(group) -> int:
    column = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "error")
    return group.num_rows - column.statistics.null_count


def remove_partial(folder: Folder, numbers: Iterable[int]) -> None:
    """Remove what a killed process left half-written of parts that are finished now."""
    if folder.local:
        done = {file_name(number) for number in numbers}
        for path in Path(folder.root).glob(".part-*.partial"):
            if path.name[1:].startswith(tuple(done)):
                path.unlink(missing_ok=True)


def table(items: Sequence[Item], predictions: Sequence[Prediction | ImageError], manifest: Manifest) -> pa.Table:
    """One row per image, in order.

    ``image_id`` (the file's name), ``path`` (as ``archive.zip!member`` in an archive), ``label``, ``p_<code>`` and
    ``score_<code>`` for each code, ``malignant_probability``, ``referral``, ``in_domain``, ``domain_score``,
    ``notices``, ``prediction_set`` (lists of codes): see :class:`~skinlesion.serving.predictor.Prediction`. ``error``
    is null, or the reason why all of these are.
    """
    codes, number, text = manifest.labels.codes, pa.float64(), pa.string()
    kinds = {
        "image_id": text,
        "path": text,
        "label": text,
        **{f"p_{code}": number for code in codes},
        **{f"score_{code}": number for code in codes},
        "malignant_probability": number,
        "referral": text,
        "in_domain": pa.bool_(),
        "domain_score": number,
        "notices": pa.list_(text),
        "prediction_set": pa.list_(text),
        "error": text,
    }

    def row(item: Item, found: Prediction | ImageError) -> dict:
        file = {"image_id": item.name, "path": item.path}
        if isinstance(found, ImageError):
            return file | {"error": str(found)}
        values = found.to_dict()
        values |= {f"p_{code}": p for code, p in values["probabilities"].items()}
        return file | values | {f"score_{code}": score for code, score in values["scores"].items()}

    rows = [row(*pair) for pair in zip(items, predictions, strict=True)]
    return pa.Table.from_pylist(rows, pa.schema(kinds, {"model": json.dumps(manifest.identity)}))


def to_parquet(items: Sequence[Item], predictions: Sequence[Prediction | ImageError], manifest: Manifest) -> bytes:
    """The table as a Parquet file with a single row group."""
    sink = pa.BufferOutputStream()
    pq.write_table(table(items, predictions, manifest), sink, compression="zstd")
    return sink.getvalue().to_pybytes()
