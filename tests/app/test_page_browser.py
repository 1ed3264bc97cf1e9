"""The pages as people use them, with the shipped model: on a phone, with and without JavaScript, with axe."""

import json
import re

import pytest
from PIL import Image

from app.words import text
from browser import LOW_CONTRAST, PHONE, chromium, strangers, violations, watch  # noqa: F401  (the fixture `browser`)
from skinlesion.core import images
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.predictor import mean_prediction
from webapp import PAGES, choose, classify, shipped_alone, shipped_served, shipped_without_domain  # noqa: F401  (fixtures, `home` among them)

pytestmark = pytest.mark.browser

DESKTOP = {"viewport": {"width": 1440, "height": 900}}


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    """Drawn lesions as files, and one file that is no image."""
    folder = tmp_path_factory.mktemp("lesions")
    for name, dx, seed in (("mole", "nv", 5), ("melanoma", "mel", 8), ("keratosis", "bkl", 1)):
        Image.fromarray(draw_example(dx, seed)).save(folder / f"{name}.jpeg", quality=95)
    (folder / "broken.jpg").write_text("no image")
    return folder


@pytest.fixture
def opened(browser, home):
    """Opens a page of the app in a context with these options."""
    contexts = []

    def open_page(path="/", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.goto(home + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


def answers(predictor, lesions, *names):
    return predictor.predict([images.read_image(lesions / name) for name in names])


def headings(page):
    """The cards', in order."""
    return page.get_by_role("article").get_by_role("heading", level=2).all_inner_texts()


def check_looks(page):
    assert violations(page) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("path", [*PAGES[1:], "/nowhere"])  # but the form, which the next test opens
def test_no_page_to_read_has_an_accessibility_violation(opened, home, path):
    page = opened(**PHONE)
    requests = watch(page)
    page.goto(home + path)
    check_looks(page)
    assert strangers(requests, home) == []


@pytest.mark.parametrize(("options", "scheme"), [(PHONE, "light"), (DESKTOP, "dark")], ids=["phone", "desktop"])
def test_neither_form_nor_result_has_an_accessibility_violation(opened, lesions, predictor, home, options, scheme):
    page = opened(color_scheme=scheme, **options)
    requests = watch(page)
    page.get_by_text(text("form.classes", classes=len(predictor.manifest.labels))).click()
    choose(page, lesions, "melanoma.jpeg", "broken.jpg", "keratosis.jpeg")
    page.get_by_label("Lesion", exact=True).first.wait_for()
    check_looks(page)
    classify(page)
    for summary in page.locator("summary").all():
        summary.click()
    check_looks(page)
    assert strangers(requests, home) == []


def test_a_phone_photographs_a_lesion(opened, lesions, predictor):
    page = opened(**PHONE)
    camera = page.get_by_label("photograph the lesion")
    assert camera.is_visible()
    assert camera.get_attribute("capture") == "environment"
    camera.set_input_files(lesions / "mole.jpeg")
    assert page.get_by_role("listitem").filter(has_text="mole.jpeg").is_visible()
    classify(page)
    (expected,) = answers(predictor, lesions, "mole.jpeg")
    assert headings(page) == [text(f"advice.{expected.referral}")]


def test_a_desktop_offers_no_camera(opened):
    assert not opened(**DESKTOP).get_by_label("photograph the lesion").is_visible()


def hand_over(page, kind: str, file, name: str | None = None):
    """Drop or paste a file, as the browser reports it."""
    page.evaluate(
        """([kind, bytes, name]) => {
          const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(bytes)], name, {type: `image/${name.split(".").pop()}`}));
          const data = {bubbles: true, cancelable: true};
          const event = kind === "drop" ? new DragEvent(kind, {...data, dataTransfer: files})
            : new ClipboardEvent(kind, {...data, clipboardData: files});
          document.body.dispatchEvent(event);
        }""",
        [kind, list(file.read_bytes()), name or file.name],
    )


def test_images_are_dropped_pasted_removed_and_refused_before_they_are_sent(opened, lesions, predictor):
    page = opened(**DESKTOP)
    group = page.get_by_role("button", name="Group by file name")
    hand_over(page, "drop", lesions / "mole.jpeg")
    assert not group.is_visible()
    hand_over(page, "paste", lesions / "melanoma.jpeg")
    choose(page, lesions, "keratosis.jpeg")  # adds to what is there
    hand_over(page, "drop", lesions / "mole.jpeg", "moving.gif")
    assert page.get_by_role("alert").inner_text() == "moving.gif is not a JPEG, PNG or WebP image."
    chosen = page.get_by_role("list", name="Chosen images").get_by_role("listitem")
    names = [text.partition(",")[0] for text in chosen.all_inner_texts()]
    assert names == ["mole.jpeg", "melanoma.jpeg", "keratosis.jpeg"]
    page.wait_for_function("[...document.querySelectorAll('.previews canvas')].every(canvas => canvas.width === 200)")
    assert group.is_visible()
    page.get_by_role("button", name="Remove melanoma.jpeg").press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove keratosis.jpeg"
    classify(page)
    expected = answers(predictor, lesions, "mole.jpeg", "keratosis.jpeg")
    assert headings(page) == [text(f"advice.{answer.referral}") for answer in expected]


def test_nothing_is_sent_without_an_image(opened):
    page = opened(**DESKTOP)
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_role("button", name="Classify").click()
    assert page.get_by_role("alert").inner_text() == "Choose at least one image first."
    assert "POST" not in sent


def test_too_many_images_are_left_out_with_a_word(opened, lesions, tmp_path):
    for i in range(13):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / f"{i}.png")
    page = opened(**DESKTOP)
    page.get_by_label("Images", exact=True).set_input_files(sorted(tmp_path.iterdir()))
    assert page.get_by_role("listitem").filter(has=page.get_by_role("button")).count() == 10
    message = page.get_by_role("alert").inner_text()
    assert message.count("10") == 1  # one sentence for all of them
    assert all(name in message for name in sorted(path.name for path in tmp_path.iterdir())[10:])
    left = [words.partition(",")[0] for words in page.locator(".previews li").all_inner_texts()]
    assert left == sorted(path.name for path in tmp_path.iterdir())[:10]
    classify(page)
    assert page.get_by_role("article").count() == 10


def test_progress_shows_in_per_cent_while_the_answer_is_awaited(opened, lesions):
    page = opened(**DESKTOP)
    choose(page, lesions, "mole.jpeg")
    page.route("**/*", lambda route: None)  # nothing answers
    page.get_by_role("button", name="Classify").click()
    assert page.get_by_role("progressbar").is_visible()
    page.get_by_role("status").filter(has_text="Sending").wait_for()
    assert re.search(r"\d+%", page.locator(".progress").inner_text())
    assert page.get_by_role("button", name="Classify").is_disabled()


def test_a_server_that_is_gone_is_said_and_the_images_stay(opened, lesions):
    page = opened(**DESKTOP)
    choose(page, lesions, "mole.jpeg")
    page.route("**/*", lambda route: route.abort())
    page.get_by_role("button", name="Classify").click()
    page.get_by_role("alert").filter(has_text="cannot be reached").wait_for()
    assert page.get_by_role("button", name="Classify").is_enabled()
    assert page.get_by_role("listitem").filter(has_text="mole.jpeg").is_visible()


def test_without_javascript_all_of_it_works(opened, lesions, predictor):
    page = opened(java_script_enabled=False, **PHONE)
    choose(page, lesions, "melanoma.jpeg", "broken.jpg", "keratosis.jpeg")
    page.get_by_label("average their predictions").check()
    classify(page)
    each = answers(predictor, lesions, "melanoma.jpeg", "keratosis.jpeg")
    average = mean_prediction(each, predictor.manifest)
    advice = [text(f"advice.{answer.referral}") for answer in (average, *each)]
    assert headings(page) == [*advice[:2], "broken.jpg", advice[2]]
    activation = page.get_by_alt_text("Class activation map").first
    assert not activation.is_visible()
    page.get_by_label("Show the evidence").first.check()
    assert activation.is_visible()
    assert not page.get_by_role("slider").first.is_visible()
    assert not page.get_by_role("button", name="Print").is_visible()


def test_an_example_is_one_click_away_and_its_answer_can_be_looked_into(opened):
    page = opened(**DESKTOP)
    classify(page, "drawn as a melanoma")
    assert page.get_by_role("heading", name="Result").is_visible()
    activation = page.get_by_alt_text("Class activation map")
    page.get_by_label("Show the evidence").check()
    page.get_by_role("slider", name="Opacity").fill("80")
    assert activation.evaluate("image => getComputedStyle(image).opacity") == "0.8"
    assert activation.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    assert download.value.suggested_filename == "skin-lesion-result.json"
    (answer,) = json.loads(download.value.path().read_text())["predictions"]
    assert headings(page) == [text(f"advice.{answer['referral']}")]


def test_the_printed_page_is_the_answer_and_nothing_else(opened):
    page = opened(color_scheme="dark", **DESKTOP)
    classify(page, "drawn as a common mole")
    page.emulate_media(media="print")
    for gone in ("navigation", "slider", "checkbox"):
        assert page.get_by_role(gone).count() == 0, gone
    assert not page.get_by_role("link", name="Download as JSON").is_visible()
    for kept in (
        page.locator(".advice"),
        page.locator(".gauge"),
        page.locator(".likeliest"),
        page.get_by_alt_text("Preview"),
    ):
        assert kept.is_visible()
    assert "not a medical device" in page.locator("header").inner_text()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
