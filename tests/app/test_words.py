"""The words of the apps: one file a language, and nothing that people read outside it."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_app import files, picture

from app import present, words
from app.device import build
from app.device.page import WORDS
from app.voila import view as voila
from app.web import create_app
from skinlesion.commands.predict import ADVICE, DISCLAIMER, _percent
from skinlesion.core.errors import ConfigError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.decision import NOTICES
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.predictor import Predictor
from webapp import PAGES, send_form

APP = Path(words.__file__).resolve().parents[1]


def test_english_is_whole_and_flat():
    content = json.loads((words.FOLDER / "en.json").read_text(encoding="utf-8"))
    assert all(isinstance(text, str) and text for text in words.TEXTS.values())
    assert words.text("advice.refer") == content["advice"]["refer"]
    for labels in (HAM7, ISIC8):
        assert [words.in_words(one) for one in labels] == list(labels)
    with pytest.raises(ConfigError, match="must be one of en"):
        words.load("xx")


@pytest.mark.parametrize("program", ["app.web", "app.device", "app.voila"])
def test_a_language_that_does_not_exist_stops_the_start_in_one_line(program):
    environ = os.environ | {words.LANGUAGE: "xx"}
    command = [sys.executable, "-m", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=APP.parent, env=environ, timeout=300)
    assert done.returncode == 2
    assert done.stderr == "error: SKINLESION_LANGUAGE must be one of en, not 'xx'\n"


def test_every_key_that_python_templates_and_scripts_use_exists():
    used = set()
    for path in APP.rglob("*"):
        if path.suffix in (".py", ".html", ".js") and not {"node_modules", "tests"} & set(path.parts):
            content = path.read_text(encoding="utf-8")
            used |= set(re.findall(r"""\b(?:t|text)\((?:model, )?["']([a-z_]+\.[a-z_]+)["']""", content))
            used |= {f"fault.{key}" for key in re.findall(r"""new Fault\("(\w+)\"""", content)}
            given = ("entry",) if path.parent.name == "static" else ("device", "entry")  # what the page hands over
            said = set(re.findall(r"""\b(?:say|report)\("(\w+)\"""", content))
            assert said <= {key for section in given for key in words.section(section)}, path
            if path.name in ("view.js", "words.js"):
                assert {key.partition(".")[0] for key in re.findall(r'"([a-z]+\.[a-z_]+)"', content)} <= {*WORDS}
    assert len(used) > 60
    assert used <= set(words.TEXTS)
    assert {key for key in words.TEXTS if key.startswith("fault.")} <= used
    assert not set(words.section("fault")) & {*words.section("device"), *words.section("entry")}, (
        "one is said for another"
    )


COMMENTS = re.compile(r'/\*.*?\*/|"""[^"]*"""|(?<!:)//[^\n]*|^ *#[^\n]*', re.DOTALL | re.MULTILINE)
SENTENCE = re.compile(r"""["'`][^"'`\n<=]*(?<![-\w])[a-z]+ (?:[a-z]+|\$?\{[^}]*\}) [a-z]+\b[^"'`\n]*["'`]""")


def test_scripts_have_no_sentence_of_their_own():
    assert SENTENCE.search('throw new Error("the file is too large")')
    for path in APP.rglob("*.js"):
        if not {"node_modules", "tests", "sw.js"} & set(path.parts):  # the service worker's errors go to the console
            content = COMMENTS.sub("", path.read_text(encoding="utf-8"))
            assert SENTENCE.findall(content) == [], path


#: What whoever starts or builds the app reads, in a terminal.
OF_THE_START = {"app/__init__.py", "__main__.py", "settings.py", "server.py", "build.py", "words/__init__.py"}


def sentences(program: str) -> list[str]:
    """Texts of three words or more, but docstrings."""
    nodes = list(ast.walk(ast.parse(program)))
    told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in told]
    return [one for one in texts if isinstance(one, str) and re.search(r"\b[a-z]+ [a-z]+ [a-z]+\b", one)]


def test_python_has_no_sentence_of_its_own():
    assert sentences('raise Refused(f"at most {most} files are accepted")')
    for path in APP.rglob("*.py"):
        if "node_modules" not in path.parts and not path.as_posix().endswith(tuple(OF_THE_START)):
            assert sentences(path.read_text(encoding="utf-8")) == [], path


def test_no_word_reassures():
    for key, text in words.TEXTS.items():
        assert not re.search(r"harmless|safe\b|nothing to worry|watch for", text, re.IGNORECASE), key
    assert words.TEXTS["kind.benign"] == "usually benign"


def test_the_command_line_has_the_same_words():
    assert {key: words.text(f"advice.{key}").lower() for key in ADVICE} == {k: v.lower() for k, v in ADVICE.items()}
    assert words.text("disclaimer") == DISCLAIMER
    for share in (0, 1e-9, 0.000999, 0.001, 0.0716, 0.999, 0.99901, 1):
        assert present.percent(share) == _percent(share).replace("<", "under ").replace(">", "over ")


def foreign(text: str) -> str:
    """A text whose letters are none of English's; placeholders stay."""
    table = str.maketrans("aeinorstuAEINORSTU", "äëïñöŕśţüÄËÏÑÖŔŚŢÜ")
    return re.sub(r"(\{\w+\})|([^{]+)", lambda part: part[1] or part[2].translate(table), text)


@pytest.fixture
def pseudo(monkeypatch):
    for key, text in words.TEXTS.items():
        monkeypatch.setitem(words.TEXTS, key, foreign(text))


READ_OUT = r'\s(?:alt|title|placeholder|aria-label|aria-description|aria-roledescription|aria-valuetext)="([^"]*)"'


def english(html: str, names: tuple[str, ...]) -> list[str]:
    """Words of English that a page shows, beside what no translation changes."""
    shown = re.sub(r"<(style|script|code|pre)\b.*?</\1>", " ", html, flags=re.DOTALL)
    shown = re.sub(r"<[^>]+>", lambda tag: f" {' '.join(re.findall(READ_OUT, tag[0]))} ", shown)
    for name in names:
        shown = shown.replace(name, " ")
    return re.findall(r"\b(?:the|of|is|image|images|probability|advice|classes?|threshold|lesion)\b", shown)


def test_a_voila_view_in_another_language_has_no_english_left(pseudo, model):
    predictor = Predictor.load(model)
    frames = np.random.default_rng(0).integers(0, 256, (12, 3), dtype=np.uint8)
    results = [
        present.result("a.png", np.tile(one, (40, 50, 1)), predictor.predict([np.tile(one, (40, 50, 1))])[0],
                       predictor.manifest) for one in frames
    ]  # fmt: skip
    assert {one.prediction.referral for one in results} == {"refer", "borderline", "below", "none"}
    parts = [
        voila.render("cards", results=results, manifest=predictor.manifest),
        voila.render("comparison", columns=results, classes=[words.in_words(one) for one in HAM7]),
        voila.render("verdict", before=results[0], now=results[1], changed=True),
        voila.render("section", title=words.text("what_if.title"), lead=words.text("what_if.lead")),
        voila.render("head", manifest=predictor.manifest, measured=present.measured(predictor.manifest),
                     formats="JPEG", most=3, most_bytes=2**20, style=""),
    ]  # fmt: skip
    for part in parts:
        assert english(part, (predictor.manifest.name,)) == []
    assert foreign("Specialist assessment suggested") in "".join(parts)


def test_pages_in_another_language_have_no_english_left(pseudo, model):
    app = create_app({"MODEL": model, "MAX_CONTENT_LENGTH": 2**16, "TOKENS": ("secret",)})
    client = app.test_client()
    paths = (*PAGES, "/device/", "/nowhere")
    pages = {path: client.get(path).text for path in paths}
    pages["result"] = send_form(client, files(picture(), picture((20, 90, 160)))).text
    pages["too large"] = send_form(client, files(bytes(2**16))).text
    pages["too many"] = send_form(client, files(*[picture()] * 11)).text
    pages["name"] = send_form(client, files(picture()) | {"lesion": ["x" * 41]}).text
    pages["host"] = client.get("/", headers={"Host": "evil.example"}).text
    pages["site"] = client.post("/", headers={"Sec-Fetch-Site": "cross-site"}).text
    pages["method"] = client.delete("/").text
    names = ("lesion 0", "lesion 1", *HAM7.names, *ISIC8.names, *NOTICES)
    for path, page in pages.items():
        assert english(page, names) == [], path
        assert foreign("Research software, not a medical device") in page, path


def test_problems_in_another_language_have_no_english_left(pseudo, model, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)  # all within one minute, however busy the machine is
    config = {"MODEL": model, "MAX_CONTENT_LENGTH": 2**16, "TOKENS": ("secret",), "RATE": 4}
    client = create_app(config).test_client()
    token = {"Authorization": "Bearer secret"}
    found = [client.get("/api/v1/nothing"), client.delete("/api/v1/model"), client.get("/api/v1/model")]
    found += [client.post("/api/v1/predict", data=files(bytes(n)), headers=token) for n in (2**16, 9)]
    found += [client.post("/api/v1/predict", headers=token) for _ in range(3)]
    assert {answer.status_code for answer in found} == {400, 401, 404, 405, 413, 415, 429}
    for answer in found:
        words_of = {answer.json["title"]} | ({answer.json["detail"]} if answer.status_code != 415 else set())
        assert not any(re.search(r"[aeinorst]", re.sub(r"`[^`]*`", "", text)) for text in words_of), answer.json


def test_a_page_on_the_device_in_another_language_has_no_english_left(pseudo, model):
    written = build._written(Manifest.read(model), "", dict.fromkeys(("model", "graphics"), 9))
    assert english(written["index.html"], ()) == []
    installed = json.loads(written["manifest.webmanifest"])
    assert installed["description"].startswith(foreign("Classifies")) and installed["lang"] == foreign("en")


def test_a_source_of_cases_has_its_name_in_words(monkeypatch):
    assert [words.source_name(name) for name in ("isic2017_msk", "mine")] == ["MSK", "mine"]
