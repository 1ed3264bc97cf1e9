"""Damaged tables and archives by the thousand: every reader returns a table or says in one line what is wrong."""

import io
import random
import shutil
import zipfile
from collections import Counter

import pytest

from skinlesion.cli import main
from skinlesion.core.errors import SkinLesionError
from skinlesion.data import splits
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table
from skinlesion.evaluation.reading import read_predictions
from small import jpeg

CODES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
IMAGES = [f"ISIC_{24306 + i:07d}" for i in range(14)]
LABELS = [CODES[i % 7] for i in range(14)]
#: Values that people and programs write, and some that nobody should.
VALUES = (
    "", "NA", "nan", "-", "0", "-1", "1e999", "1,5", "fold3", "a.jpg", "mel/0.jpg", "C:\\x\\0.jpg", "../../etc/passwd",
    "nv", "Naevus", "wart", "ISIC_0024306", "isic_0024306.JPG", "\x00", "é", "\U0001f600", '"', "=1+1", "x" * 400, "/",
    "\\", "!", "a.zip!b", ".", "..", "NaN", "inf", "1_000", "²", "2" * 400, "\u2028", "a\nb",
)  # fmt: skip


def tables():
    """The tables of every kind, as text."""
    rows = list(zip(IMAGES, LABELS, strict=True))
    metadata = "lesion_id,image_id,dx,dx_type,age,sex,localization\n" + "".join(
        f"HAM_{i},{image},{label},histo,{40 + i},male,back\n" for i, (image, label) in enumerate(rows)
    )
    archive = "isic_id,diagnosis_1,diagnosis_3,image_type,lesion_id\n" + "".join(
        f"{image},Benign,{'Nevus' if i % 2 else 'Melanoma in situ'},dermoscopic,IL_{i}\n"
        for i, image in enumerate(IMAGES)
    )
    plain = "path;label;age\n" + "".join(f"{image}.jpg;{label};45,5\n" for image, label in rows)
    truth = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n" + "".join(
        f"{image},{i % 2},{1 - i % 2},0,0,0,0,0\n" for i, image in enumerate(IMAGES)
    )
    split = "image_id,lesion_id,group,label,split,fold\n" + "".join(
        f"{image},HAM_{i},{i},{label},{'train' if i < 7 else 'val'},{i % 3 - 1}\n"
        for i, (image, label) in enumerate(rows)
    )
    head = ",".join(["image_id", "label", *(f"p_{code}" for code in CODES)])
    scored = head + "\n" + "".join(f"{image},{label},0.4,0.1,0.1,0.1,0.1,0.1,0.1\n" for image, label in rows)
    return {"HAM10000_metadata.csv": metadata, "metadata.csv": archive, "plain.csv": plain, "truth.csv": truth,
            "split.csv": split, "predictions.csv": scored}  # fmt: skip


def archive(kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as target:
        for seed, name in enumerate(IMAGES):
            target.writestr(f"{name}.jpg", jpeg(seed))
    return buffer.getvalue()


def injured_table(draw: random.Random, text: str) -> bytes:
    """One to four injuries: to values, rows, columns, separators, line ends, the encoding, or single bytes."""
    for _ in range(draw.randint(1, 4)):
        lines = text.split("\n")
        separator = ";" if ";" in lines[0] else ","
        row = draw.randrange(len(lines))
        values = lines[row].split(separator)
        match draw.randrange(9):
            case 0:
                values[draw.randrange(len(values))] = draw.choice(VALUES)
                lines[row] = separator.join(values)
            case 1:
                lines[row] = lines[draw.randrange(len(lines))]
            case 2:
                del lines[row]
            case 3:
                column = draw.randrange(len(lines[0].split(separator)) or 1)
                new = draw.choice(VALUES)
                lines = [
                    separator.join(v if i != column else new for i, v in enumerate(line.split(separator)))
                    for line in lines
                ]
            case 4:
                lines = [line.replace(separator, draw.choice((";", "\t", "|", "  "))) for line in lines]
            case 5:
                lines[0] = separator.join(
                    draw.choice((value, draw.choice(VALUES), value.upper(), "dx", "path"))
                    for value in lines[0].split(separator)
                )
            case 6:
                lines.insert(0, draw.choice(("sep=;", "sep=,", "# note", "", "\ufeff", '"')))
            case 7:
                lines = lines[: row + 1]
            case 8:
                lines[row] += draw.choice((separator, separator + "x", '"', separator * 3))
        text = draw.choice(("\n", "\n", "\r\n", "\r")).join(lines)
    data = text.encode(draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le")), "surrogatepass")
    if draw.random() < 0.2:
        data = injured_bytes(draw, data)
    return data


def injured_bytes(draw: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut out, repeated, or cut off."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        if not data:
            break
        at = draw.randrange(len(data))
        match draw.randrange(4):
            case 0:
                data[at] = draw.randrange(256)
            case 1:
                data[at : at + draw.randint(1, 30)] = bytes([draw.choice((0, 255))]) * draw.randint(1, 30)
            case 2:
                data[at:at] = data[max(0, at - 20) : at]
            case 3 if draw.random() < 0.2:
                del data[at:]
    return bytes(data)


def read_everything(folder, ours) -> Counter:
    """What becomes of every reader: "read", or the kind of a one-line error. Any other exception is a failure."""
    found = Counter()

    def attempt(name, call):
        try:
            call()
            found[name, "read"] += 1
        except SkinLesionError as error:
            text = str(error)
            assert "Traceback" not in text and "Error(" not in text, text
            found[name, "refused"] += 1

    for data in (
        f"ham10000:{folder}",
        f"isic-archive:{folder}",
        str(folder / "plain.csv"),
        f"folder:{folder}",
        str(folder),
    ):
        attempt(
            "data",
            lambda data=data: check_table(load_table(data, words="wart=bkl"), decode=data == str(folder), workers=1),
        )
    attempt("predictions", lambda: read_predictions(folder / "predictions.csv"))
    attempt("truth", lambda: read_predictions(folder / "predictions.csv", folder / "truth.csv"))
    attempt("labels", lambda: read_predictions(folder / "truth.csv", folder / "HAM10000_metadata.csv"))
    attempt("split", lambda: splits.choose_split(ours, split_file=str(folder / "split.csv"), tested=False))
    attempt("run's split", lambda: splits.load_split(folder / "split.csv"))
    return found


def fuzz(place, rounds, seed):
    """Run ``rounds`` damaged data sets through all readers, and return how often each was read or refused."""
    draw = random.Random(seed)
    whole, zips = tables(), [archive(kind) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    good = place / "good"
    good.mkdir(parents=True)
    (good / "images.zip").write_bytes(zips[0])
    for name, text in whole.items():
        (good / name).write_bytes(text.encode())
    ours = load_table(f"ham10000:{good}")
    assert read_everything(good, ours)["data", "read"] == 4, "whole, all but the class folders are read"
    total = Counter()
    for number in range(rounds):
        folder = place / str(number)
        folder.mkdir()
        hurt = draw.sample(sorted(whole), draw.randint(1, 3)) if draw.random() < 0.8 else []
        for name, text in whole.items():
            (folder / name).write_bytes(injured_table(draw, text) if name in hurt else text.encode())
        (folder / draw.choice(("images.zip", "IMAGES.ZIP", "nv!.zip"))).write_bytes(
            draw.choice(zips) if hurt else injured_bytes(draw, draw.choice(zips))
        )
        try:
            total += read_everything(folder, ours)
        except BaseException:
            shutil.copytree(folder, kept := place.parent / f"kept-{seed}-{number}")
            print(f"{kept} is what was read")
            raise
        shutil.rmtree(folder)
    return total


def test_damaged_tables_and_archives_end_in_a_table_or_one_line(tmp_path):
    total = fuzz(tmp_path / "sets", 15, seed=1)  # of ten readers each
    kinds = Counter()
    for (_, outcome), count in total.items():
        kinds[outcome] += count
    assert sum(kinds.values()) == 15 * 10 and min(kinds["read"], kinds["refused"]) > 15, total


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_five_thousand_damaged_sets(tmp_path, seed):
    total = fuzz(tmp_path / "sets", 500, seed=100 + seed)
    assert sum(total.values()) == 500 * 10


@pytest.mark.parametrize(
    "command",
    [
        ["data", "check", "PLACE"],
        ["data", "check", "PLACE/plain.csv", "--label", "wart=bkl"],
        ["data", "check", "PLACE", "--label", "nonsense"],
        ["evaluate", "PLACE/predictions.csv", "--labels", "PLACE/truth.csv", "--output", "OUT"],
        ["compare", "PLACE/predictions.csv", "PLACE/truth.csv", "--labels", "PLACE/HAM10000_metadata.csv"],
        ["train", "--data", "PLACE", "--run", "OUT", "--set", "split_file=PLACE/split.csv", "epochs=1"],
        ["external", "--data", "PLACE/plain.csv", "--output", "OUT"],
        ["predict", "PLACE/plain.csv", "PLACE/images.zip!ISIC_0024306.jpg", "--format", "csv"],
        ["score", "PLACE/images.zip", "--output", "OUT"],
    ],
    ids=lambda command: "-".join(command[:2]).replace("/", "-"),
)
def test_no_command_shows_a_traceback(command, tmp_path, capsys, monkeypatch):
    draw = random.Random(5)
    place = tmp_path / "set"
    place.mkdir()
    monkeypatch.chdir(tmp_path)
    for name, text in tables().items():
        (place / name).write_bytes(injured_bytes(draw, text.encode("utf-16"))[: len(text)])
    (place / "images.zip").write_bytes(injured_bytes(draw, archive(zipfile.ZIP_DEFLATED)))
    words = [word.replace("PLACE", str(place)).replace("OUT", str(tmp_path / "out")) for word in command]
    status = main(words)
    printed = capsys.readouterr()
    assert status in (1, 2) and "Traceback" not in printed.err + printed.out
    assert status == 1 or printed.err.startswith("error: ")
