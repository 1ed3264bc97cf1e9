"""The Voila view by its widgets: what it shows for images and sliders, and what stops it."""

import asyncio
import json
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import tiny_model
from app import pictures
from app.voila.__main__ import main
from app.voila.view import MAX_IMAGES, View, open_view
from app.voila.what_if import NEUTRAL, SLIDERS, WhatIf, apply, working_copy
from app.words import text
from skinlesion.core import images
from skinlesion.core.errors import ModelError
from skinlesion.serving.predictor import Predictor

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor.load(model)


@pytest.fixture
def lesion(tmp_path) -> Path:
    noise = np.random.default_rng(2).integers(-20, 20, (200, 300, 3))
    Image.fromarray((noise + np.array([150, 80, 60])).astype(np.uint8)).save(tmp_path / "lesion.png")
    return tmp_path / "lesion.png"


def chosen(path: Path, name: str | None = None) -> dict:
    """A file as ipywidgets hands it over."""
    data = path.read_bytes()
    return {
        "name": name or path.name,
        "type": "image/png",
        "size": len(data),
        "content": memoryview(data),
        "last_modified": datetime.now(UTC),
    }


def in_kernel(scenario):
    """Run a scenario where the view lives: inside an event loop, to its end, the drawing of curves included."""

    async def run():
        scenario()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    asyncio.run(run())


def numbers(html: str, row: str) -> list[float]:
    """The exact numbers behind what a table's row shows."""
    found = re.search(rf'<tr data-code="{row}">.*?</tr>', html, re.DOTALL)
    return [float(value) for value in re.findall('<data value="(.*?)">', found[0])]


def shown(predictor: Predictor, path: Path, **sliders: int) -> View:
    """The view after an upload and the given moves of sliders."""
    view = View(predictor)

    def moves():
        view.upload.value = (chosen(path),)
        for name, value in sliders.items():
            view.whatif.sliders[name].value = value

    in_kernel(moves)
    return view


def changed_by_pillow(frame: np.ndarray, brightness, rotation, zoom, saturation, warmth) -> np.ndarray:
    """What the sliders promise, another way: mirror images laid around the picture before it is turned."""
    picture = Image.fromarray(frame)
    width, height = picture.size
    tiles = Image.new("RGB", (3 * width, 3 * height))
    for column in range(3):
        for row in range(3):
            tile = ImageOps.mirror(picture) if column != 1 else picture
            tiles.paste(ImageOps.flip(tile) if row != 1 else tile, (column * width, row * height))
    turned = tiles.rotate(-rotation, Image.Resampling.BILINEAR).crop((width, height, 2 * width, 2 * height))
    w, h = round(width * 100 / zoom), round(height * 100 / zoom)
    left, top = (width - w) // 2, (height - h) // 2
    cut = turned.crop((left, top, left + w, top + h))
    pixels = np.asarray(
        ImageEnhance.Color(ImageEnhance.Brightness(cut).enhance(brightness / 100)).enhance(saturation / 100)
    )
    return np.clip(np.rint(pixels * np.array([1 + warmth / 100, 1, 1 - warmth / 100])), 0, 255).astype(np.uint8)


def test_sliders_at_rest_change_nothing(lesion):
    frame = images.read_image(lesion)
    assert np.array_equal(apply(frame, NEUTRAL), frame)
    assert NEUTRAL == {"brightness": 100, "rotation": 0, "zoom": 100, "saturation": 100, "warmth": 0}


def test_each_slider_does_what_it_says(lesion):
    frame = images.read_image(lesion)
    square = frame[:200, :200]
    assert np.array_equal(apply(square, NEUTRAL | {"rotation": 90}), np.rot90(square, -1))
    assert np.array_equal(apply(frame, NEUTRAL | {"rotation": 180}), frame[::-1, ::-1])
    assert np.array_equal(apply(frame, NEUTRAL | {"zoom": 200}), frame[50:150, 75:225])
    assert np.abs(apply(frame, NEUTRAL | {"brightness": 50}) - frame / 2).max() <= 1
    assert np.array_equal(apply(frame, NEUTRAL | {"saturation": 0})[..., 1], Image.fromarray(frame).convert("L"))
    warm = apply(frame, NEUTRAL | {"warmth": 20}).astype(float)
    assert np.abs(warm - np.minimum(frame * [1.2, 1, 0.8], 255)).max() <= 0.5


def test_the_smallest_images_can_be_changed_in_every_way(predictor):
    frame = np.full((images.MIN_SIDE, images.MIN_SIDE, 3), 120, np.uint8)
    for edge in ("low", "high"):
        changed = apply(frame, {slider.name: getattr(slider, edge) for slider in SLIDERS})
        assert predictor.predict([changed])[0].label


def test_what_if_answers_as_the_predictor_does_for_the_changed_picture(predictor, lesion):
    sliders = {"brightness": 123, "rotation": -37, "zoom": 140, "saturation": 60, "warmth": 12}
    view = shown(predictor, lesion, **sliders)
    frame = images.read_image(lesion)
    before, now = predictor.predict([frame])[0], predictor.predict([changed_by_pillow(frame, **sliders)])[0]
    assert abs(before.malignant_probability - now.malignant_probability) > 1e-3
    for code, value in (*now.probabilities.items(), ("all", now.malignant_probability)):
        old = before.malignant_probability if code == "all" else before.probabilities[code]
        assert numbers(view.whatif.table.value, code) == pytest.approx([old, value], abs=1e-6)


def test_what_if_says_whether_the_answer_flips(predictor, tmp_path):
    frame = np.tile(np.uint8([90, 120, 150]), (20, 30, 1))
    Image.fromarray(frame).save(tmp_path / "blue.png")
    before = predictor.predict([frame])[0]
    answers = {b: predictor.predict([changed_by_pillow(frame, b, 0, 100, 100, 0)])[0] for b in (80, 50, 120, 130)}

    def likeliest(prediction):
        return max(prediction.probabilities, key=prediction.probabilities.get)

    flips = {b: (likeliest(p) != likeliest(before), p.referral != before.referral) for b, p in answers.items()}
    assert list(flips.values()) == [(False, False), (True, False), (False, True), (True, True)]
    view = shown(predictor, tmp_path / "blue.png")
    assert "As it is" in view.whatif.verdict.value

    def moves():
        for brightness, (label, referral) in flips.items():
            view.whatif.sliders["brightness"].value = brightness
            verdict = view.whatif.verdict.value
            assert f'data-flips="{str(label or referral).lower()}"' in verdict
            assert ("The likeliest class changes from" in verdict) == label
            assert (f"The advice changes from “{text(f'advice.{before.referral}')}”" in verdict) == referral
            assert f"{answers[brightness].malignant_probability:.1%}" in verdict
        view.whatif.reset.click()

    in_kernel(moves)
    assert view.whatif.values == NEUTRAL
    assert "As it is" in view.whatif.verdict.value


def test_an_image_without_advice_gets_no_figures(predictor, lesion, tmp_path):
    Image.fromarray(np.tile(np.uint8([150, 0, 60]), (40, 50, 1))).save(tmp_path / "other.png")
    unlike = predictor.predict([images.read_image(tmp_path / "other.png")])[0]
    assert unlike.referral == "none"
    view = View(predictor)

    def moves():
        view.upload.value = (chosen(tmp_path / "other.png"), chosen(lesion))
        assert "–" in view.whatif.verdict.value
        view.whatif.sliders["rotation"].value = 5

    in_kernel(moves)
    for html in (view.whatif.verdict.value, view.whatif.table.value, view.whatif.curve.value):
        assert not re.search(r"\d\.\d%", html)
    assert numbers(view.whatif.table.value, "all") == []
    assert "points" in view.whatif.table.value.lower()
    expected = predictor.predict([images.read_image(lesion)])[0]
    for code, share in expected.probabilities.items():
        assert numbers(view.comparison.value, code) == pytest.approx([share], abs=1e-6)
    assert f"{unlike.malignant_probability:.1%}" not in view.comparison.value
    assert f"{expected.malignant_probability:.1%}" in view.comparison.value


def test_the_curve_follows_the_slider_moved_last(predictor, lesion):
    view = shown(predictor, lesion, brightness=130, saturation=50)
    curve = view.whatif.curve.value
    assert "along Colour strength" in curve
    line = [tuple(map(float, point.split(","))) for point in re.search('points="(.*?)"', curve)[1].split()]
    frame = images.read_image(lesion)
    for x, y in line:
        pixels = changed_by_pillow(frame, 130, 0, 100, 2 * x, 0)  # saturation goes from 0 to 200 over the width
        assert y == pytest.approx(100 * (1 - predictor.predict([pixels])[0].malignant_probability), abs=0.006)
    assert [x for x, _ in line] == [5 * i for i in range(21)]


def test_the_curve_has_gaps_where_there_is_no_advice(predictor, lesion, monkeypatch):
    plain = WhatIf._predict

    def partly(self, values):
        dark = values["brightness"] < 100
        found = plain(self, values)
        return replace(found, referral="none", malignant_probability=0.999) if dark else found

    monkeypatch.setattr(WhatIf, "_predict", partly)
    curve = shown(predictor, lesion, brightness=130).whatif.curve.value
    lines = re.findall('points="(.*?)"', curve)
    assert [float(point.split(",")[0]) for point in lines[0].split()] == [5 * i for i in range(10, 21)]
    assert len(lines) == 1 and "99.9%" not in curve


def test_large_images_are_changed_as_a_smaller_copy_and_it_says_so(predictor, tmp_path):
    large = np.random.default_rng(4).integers(0, 256, (90, 1200, 3)).astype(np.uint8)
    assert working_copy(large).shape == (45, 600, 3)
    Image.fromarray(large).save(tmp_path / "large.png")
    assert "a copy of 600 × 45 pixels" in shown(predictor, tmp_path / "large.png").whatif.table.value


def test_view_answers_every_chosen_file(predictor, lesion, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    view = View(predictor)

    def choose():
        view.upload.value = (chosen(lesion, "<b>one</b>.png"), chosen(tmp_path / "notes.png"))

    in_kernel(choose)
    expected = predictor.predict([images.read_image(lesion)])[0]
    answers = view.cards.value
    assert re.findall('data-label="(.*?)"', answers) == [expected.label]
    assert f"{expected.probability:.1%}" in answers
    assert "This image cannot be used" in answers
    assert "&lt;b&gt;one" in answers
    assert "<b>one" not in answers
    assert "Images classified: 1 of 2" in view.status.value
    assert view.compare.layout.display == "none"  # one answer is nothing to compare


def test_more_images_than_fit_are_named(predictor, lesion):
    view = View(predictor)

    def choose():
        view.upload.value = tuple(chosen(lesion, f"{i}.png") for i in range(MAX_IMAGES + 2))

    in_kernel(choose)
    assert len(re.findall("data-label", view.cards.value)) == MAX_IMAGES
    assert view.cards.value.count(f"only {MAX_IMAGES} images are classified at a time") == 2


def test_images_are_compared_and_averaged(predictor, lesion):
    view = View(predictor)
    first, second = pictures.EXAMPLES[:2]

    def try_examples():
        view.upload.value = (chosen(lesion),)
        view.tries[first.name].value = True
        view.tries[second.name].value = True
        view.together.value = True

    in_kernel(try_examples)
    paths = [lesion, *(example.path for example in (first, second))]
    each = [predictor.predict([images.read_image(path)])[0] for path in paths]
    for code in predictor.manifest.labels.codes:
        values = [prediction.probabilities[code] for prediction in each]
        assert numbers(view.comparison.value, code) == pytest.approx([*values, np.mean(values)], abs=1e-6)
    assert [title for title, _ in view.whatif.image.options][1:] == [
        f"{i}. Example drawn as {example.drawn_as}" for i, example in ((2, first), (3, second))
    ]
    in_kernel(view.clear.click)
    assert "data-label" not in view.cards.value
    assert [part.layout.display for part in (view.compare, view.whatif.panel)] == ["none", "none"]


def test_what_goes_wrong_in_a_slider_is_shown(predictor, lesion, monkeypatch, capfd):
    view = shown(predictor, lesion)

    def fail(error):
        def predict(_frames):
            raise error

        monkeypatch.setattr(view._predictor, "predict", predict)

    fail(ModelError("the network <failed>"))
    view.whatif.sliders["brightness"].value = 120
    assert "Something went wrong:</strong> the network &lt;failed&gt;" in view.whatif.verdict.value
    fail(KeyError("our fault"))
    view.whatif.sliders["brightness"].value = 121
    assert "the program failed (KeyError" in view.whatif.verdict.value
    assert "Traceback" in capfd.readouterr().err


def test_view_without_a_model_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.setenv("SKINLESION_MODEL", str(tmp_path))
    assert "make reports" in open_view().value


def test_view_refuses_a_model_that_was_tampered_with(monkeypatch, tmp_path):
    folder = tiny_model.write(tmp_path / "model")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    monkeypatch.setenv("SKINLESION_MODEL", str(folder))
    assert "SHA-256 differs" in open_view().value


def test_serving_says_in_one_line_what_stops_it(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("it would start"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, words in (
            (["--model", str(tmp_path)], "make reports"),
            (["--model", str(model), "--port", str(taken.getsockname()[1])], "choose another --port"),
        ):
            assert main(arguments) == 2
            error = capsys.readouterr().err
            assert words in error and len(error.splitlines()) == 1


def test_notebook_is_stored_without_outputs():
    notebook = json.loads((REPOSITORY / "app" / "voila" / "widget.ipynb").read_text())
    assert [(cell["outputs"], cell["execution_count"]) for cell in notebook["cells"]] == [([], None)]
