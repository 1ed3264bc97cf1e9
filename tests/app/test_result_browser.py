"""The result page as people use it: on a phone, by keyboard, several images, crops, reports, and a connected camera."""

import json
import re

import pytest
from PIL import Image

from browser import LOW_CONTRAST, PHONE, chromium, pages, strangers, violations, watch  # noqa: F401  (the fixture `browser`)
from skinlesion.core import images
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving.predictor import mean_prediction
from small import encoded
from webapp import choose, classify, photograph, shipped_alone, shipped_served, shipped_without_domain  # noqa: F401  (fixtures, `home` among them)

pytestmark = pytest.mark.browser

DESKTOP = {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesions")
    for name, dx, seed in (("arm_1", "mel", 8), ("arm_2", "mel", 9), ("back", "nv", 5)):
        Image.fromarray(draw_example(dx, seed)).save(folder / f"{name}.png")
    (folder / "broken.jpg").write_text("no image")
    return folder


@pytest.fixture
def opened(browser, home):
    """Opens the form in a context with these options."""
    contexts = []

    def open_page(permissions=(), **options):
        contexts.append(browser.new_context(permissions=list(permissions), **options))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
        page.goto(home)
        return page

    yield open_page
    for context in contexts:
        context.close()


def found(page) -> dict:
    """What the page offers as JSON."""
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download as JSON").click()
    return json.loads(saved.value.path().read_text())


def box(page, selector):
    return page.locator(selector).first.bounding_box()


def test_on_a_phone_the_answer_is_on_the_first_screen_and_the_picture_after_it(opened):
    page = opened(**PHONE, color_scheme="dark")
    classify(page, "drawn as a melanoma")
    parts = [box(page, part) for part in (".disclaimer", ".advice", ".gauge", ".likeliest li", ".picture")]
    tops = [part["y"] for part in parts]
    assert tops == sorted(tops)
    assert all(part["y"] >= 0 and part["y"] + part["height"] <= 812 for part in parts[:4])
    assert page.locator(".likeliest li").count() == 3
    assert violations(page) == []
    assert page.evaluate(LOW_CONTRAST) == []


@pytest.mark.parametrize("size", [(320, 640), (320, 225), (640, 450)], ids=["narrow", "400%", "200%"])
def test_nothing_is_wider_than_a_narrow_or_enlarged_window(opened, lesions, size):
    page = opened(viewport={"width": size[0], "height": size[1]})
    choose(page, lesions, "arm_1.png", "arm_2.png")
    page.get_by_role("button", name="Crop arm_1.png").click()
    page.get_by_role("dialog").wait_for()  # it opens when the image is decoded
    assert page.evaluate("document.getElementById('crop').scrollWidth <= innerWidth")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    classify(page)
    page.get_by_text("Technical details").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


TARGETS = ".skip, button, summary, nav a, .button, select, textarea, label:has(input), th a"
SMALL = f"""() => [...document.querySelectorAll("{TARGETS}")].filter(one => one.checkVisibility())
  .map(one => [one.innerText, one.getBoundingClientRect().height]).filter(([, height]) => height < 44)"""


BEYOND = """() => [...document.querySelectorAll(".card *")]
  .filter(one => one.checkVisibility() && !one.closest(".wide *"))
  .filter(one => {
    const card = one.closest(".card"), padding = parseFloat(getComputedStyle(card).paddingRight);
    return one.getBoundingClientRect().right > card.getBoundingClientRect().right - padding + 1;
  })
  .map(one => one.outerHTML.slice(0, 80))"""


def test_on_a_narrow_phone_nothing_leaves_its_card_and_a_long_name_takes_a_few_lines(opened, lesions, tmp_path):
    page = opened(viewport={"width": 320, "height": 640})
    long = "n" * 200
    for name in (long, "\u202ereversed"):  # the second shows what follows it from right to left
        (tmp_path / f"{name}.png").write_bytes((lesions / "back.png").read_bytes())
    choose(page, tmp_path, *(path.name for path in sorted(tmp_path.iterdir())))
    last = page.locator(".previews li > span").last
    assert last.evaluate("""one => { const range = document.createRange(); range.selectNode(one.lastChild);
      return range.getBoundingClientRect().left >= one.querySelector("bdi").getBoundingClientRect().right - 1; }""")
    classify(page)
    assert page.evaluate(BEYOND) == []
    assert box(page, ".overview tbody tr:first-child")["height"] < 320
    assert long in page.get_by_role("article").first.inner_text()


def test_targets_are_large_enough_for_fingers(opened, lesions):
    page = opened(**PHONE)
    choose(page, lesions, "arm_1.png", "back.png")
    assert page.evaluate(SMALL) == []
    classify(page)
    page.get_by_text("Save a case report").first.click()
    assert page.evaluate(SMALL) == []
    page.get_by_role("button", name="Enlarge").first.click()
    assert page.evaluate(SMALL) == []


def test_forced_colours_show_the_bar_its_mark_and_the_advice(opened):
    page = opened(**DESKTOP, forced_colors="active")
    classify(page, "drawn as a melanoma")
    seen = "part => { const s = getComputedStyle(part); return [s.fill, s.stroke, s.color]; }"
    text = page.locator(".risk").evaluate("part => getComputedStyle(part).color")
    assert page.locator(".gauge .level").evaluate(seen)[0] == text
    assert page.locator(".gauge .mark").evaluate(seen)[1] == text
    assert page.locator(".advice").evaluate("part => getComputedStyle(part).borderTopStyle") == "solid"


def test_the_picture_comes_without_its_map_and_is_enlarged_by_keyboard(opened):
    page = opened(**DESKTOP)
    classify(page, "drawn as a melanoma")
    activation = page.get_by_role("article").get_by_alt_text("Class activation map")
    assert not activation.is_visible()
    page.get_by_role("button", name="Enlarge").focus()
    page.keyboard.press("m")
    assert activation.is_visible()
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    large = page.locator("#viewer")
    assert not large.get_by_alt_text("Class activation map").is_visible()
    width = box(page, "#viewer .stack")["width"]
    page.keyboard.press("+")
    page.keyboard.press("m")
    assert box(page, "#viewer .stack")["width"] == pytest.approx(1.5 * width, rel=0.02)
    assert large.get_by_alt_text("Class activation map").is_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Enlarge"
    assert page.complaints == []


def test_a_crop_is_what_the_model_sees(opened, lesions, predictor):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    page.get_by_role("button", name="Crop arm_1.png").click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert violations(page) == []
    for key in ("-", "-", "-", "-", "-", "ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    before = dialog.locator("output").inner_text()
    square = dialog.locator(".square").bounding_box()
    page.mouse.move(square["x"] + 60, square["y"] + 60)
    page.mouse.down()
    page.mouse.move(square["x"] + 20, square["y"] + 75, steps=4)
    page.mouse.up()
    after = dialog.locator("output").inner_text()
    assert after != before
    side, left, top = (int(n) for n in re.fullmatch(r"(\d+) × \1 px \((\d+), (\d+)\)", after).groups())
    page.get_by_role("button", name="Use the square").click()
    page.get_by_role("listitem").filter(has_text=f"cropped to {side}").wait_for()
    classify(page)
    frame = images.read_image(lesions / "arm_1.png")[top : top + side, left : left + side]
    (expected,) = predictor.predict([frame])
    (answer,) = found(page)["predictions"]
    assert answer["image"] == "arm_1.png"
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert page.complaints == []


WAYS = """() => {  // how the page is left from here on; this listener comes after the page's own
  const ways = [];
  navigation.addEventListener("navigate", ({navigationType}) => ways.push(navigationType));
  window.moved = new Promise(resolve => window.addEventListener("popstate", () => resolve(ways), {once: true}));
}"""


def test_several_images_are_listed_grouped_and_sorted(opened, lesions, predictor, home):
    page = opened(**DESKTOP)
    requests = watch(page)
    choose(page, lesions, "arm_1.png", "arm_2.png", "back.png", "broken.jpg")
    page.get_by_role("button", name="Group by file name").click()
    assert [field.input_value() for field in page.get_by_label("Lesion", exact=True).all()] == ["arm", "arm", "", ""]
    assert violations(page) == []
    classify(page)
    each = predictor.predict([images.read_image(lesions / f"{name}.png") for name in ("arm_1", "arm_2", "back")])
    average = mean_prediction(each[:2], predictor.manifest)
    rows = page.locator(".overview tbody tr")
    assert rows.count() == 5
    shares = [one.malignant_probability for one in (average, *each) if one.referral != "none"]
    assert len(shares) > 1
    heading = page.get_by_role("columnheader", name="Malignant probability")
    for way in ("ascending", "descending"):
        heading.get_by_role("button").press("Enter")
        assert heading.get_attribute("aria-sort") == way
        told = [row.locator("td").first.get_attribute("data-value") for row in rows.all()]
        assert set(told[len(shares) :]) == {""}, "an image without a figure comes last"
        assert [float(value) for value in told[: len(shares)]] == pytest.approx(
            sorted(shares, reverse=way == "descending")
        )
    page.evaluate(WAYS)
    rows.filter(has_text="back.png").get_by_role("link").click()
    assert page.evaluate("window.moved") == ["push"], "the page is not loaded again"
    assert page.url.endswith("#image-3")
    assert page.get_by_role("article").count() == 5
    assert violations(page) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert strangers(requests, home) == []


def test_a_case_report_is_one_file_and_one_printed_page(opened, browser, lesions, predictor, tmp_path):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    classify(page)
    requests = watch(page)
    page.get_by_text("Save a case report").click()
    page.get_by_label("Notes").fill("Left arm,\n<b>since May</b>")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a file").click()
    assert saved.value.suggested_filename == "report arm_1.html"
    path = tmp_path / "report.html"
    saved.value.save_as(path)
    text = path.read_text()
    assert set(re.findall(r'(?:src|href)="(?!data:)([^"]*)"', text)) == set()
    assert predictor.manifest.sha256 in text and "&lt;b&gt;since May" in text
    assert all(url.endswith(".css") or url.startswith(("data:", "blob:")) for url in requests)
    report = browser.new_page()
    report.goto(path.as_uri())
    assert report.get_by_role("img", name="Preview").count() == 2
    assert report.get_by_alt_text("Class activation map").is_visible()
    assert "not a medical device" in report.locator("header").inner_text()
    assert violations(report) == []
    assert [pages(report, paper) for paper in ("A4", "Letter")] == [1, 1]
    report.close()
    assert page.complaints == []


FULL = """() => {
  for (const list of document.querySelectorAll(".card .notices, .card .facts, .card tbody"))
    list.append(list.lastElementChild?.cloneNode(true) ?? "", list.lastElementChild?.cloneNode(true) ?? "");
}"""


@pytest.mark.parametrize("notes", ["Left arm, since May. " * 60, "one line\n" * 22], ids=["long", "lines"])
def test_a_report_with_much_in_it_is_one_printed_page_that_can_be_read(opened, browser, lesions, tmp_path, notes):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    classify(page)
    page.evaluate(FULL)
    page.get_by_text("Save a case report").click()
    page.get_by_label("Notes").fill(notes)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a file").click()
    saved.value.save_as(tmp_path / "report.html")
    report = browser.new_page()
    report.goto((tmp_path / "report.html").as_uri())
    assert notes.strip()[:1200] in report.locator(".notes p").text_content()
    assert [pages(report, paper) for paper in ("A4", "Letter")] == [1, 1]
    report.emulate_media(media="print")
    shrunk = report.evaluate("parseFloat(getComputedStyle(document.body).zoom)")
    assert 0.6 < shrunk < 1, "by as much as it needs"
    report.locator(".notes p").evaluate("one => one.textContent = 'one more line\\n'.repeat(60)")
    assert pages(report, "Letter") == 2, "and by no more than that"
    report.close()
    assert page.complaints == []


def test_a_report_that_cannot_be_laid_out_is_saved_all_the_same(opened, lesions, tmp_path):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    classify(page)
    page.evaluate("() => { HTMLIFrameElement.prototype.addEventListener = () => {}; }")  # its load is never told
    page.get_by_text("Save a case report").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a file").click()
    saved.value.save_as(tmp_path / "report.html")
    assert "zoom: 1 }" in (tmp_path / "report.html").read_text()
    assert page.locator("iframe").count() == 0
    assert page.complaints == []


def test_a_report_without_its_style_sheet_is_not_saved_but_said(opened, lesions):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    classify(page)
    page.route("**/report.css", lambda route: route.abort())
    page.get_by_text("Save a case report").click()
    page.get_by_role("button", name="Save as a file").click()
    failed = page.locator(".report [role=alert]")
    failed.filter(has_text="The report was not saved").wait_for()
    page.unroute("**/report.css")
    with page.expect_download():
        page.get_by_role("button", name="Save as a file").click()
    failed.wait_for(state="hidden")


def test_a_visit_is_remembered_in_its_tab_and_deleted_at_once(opened, lesions):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    classify(page)
    page.get_by_role("link", name="Classify other images").click()
    page.get_by_text("This visit").click()
    assert page.locator("#visit tbody tr").count() == 1
    assert "arm_1.png" in page.locator("#visit").inner_text()
    assert violations(page) == []
    page.get_by_role("button", name="Delete all").click()
    assert not page.locator("#visit").is_visible()
    assert page.evaluate("[sessionStorage.visit, localStorage.length, document.cookie]") == ["[]", 0, ""]


def test_back_from_a_result_leads_to_the_form(opened, lesions):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    classify(page)
    page.go_back()
    page.get_by_role("button", name="Classify").wait_for()
    assert page.get_by_role("article").count() == 0


def test_what_is_dropped_on_a_result_neither_replaces_it_nor_goes_to_the_form_that_is_gone(opened, lesions):
    page = opened(**DESKTOP)
    choose(page, lesions, "arm_1.png")
    drop = """() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["no image"], "a.png", {type: "image/png"}));
      const event = new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer});
      return !document.body.dispatchEvent(event);
    }"""
    assert page.evaluate(drop)
    page.get_by_role("button", name="Remove a.png").click()
    classify(page)
    assert page.evaluate(drop), "else the browser opens the file in the result's place"
    assert page.get_by_text("a.png").count() == 0 and page.get_by_role("article").count() == 1


def test_two_images_of_one_name_are_both_remembered(opened, lesions, tmp_path):
    for folder, name in (("left", "arm_1"), ("right", "back")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes((lesions / f"{name}.png").read_bytes())
    page = opened(**DESKTOP)
    choose(page, tmp_path, "left/a.png", "right/a.png")
    classify(page)
    page.get_by_role("link", name="Classify other images").click()
    page.get_by_text("This visit").click()
    assert page.locator("#visit tbody tr").count() == 2


def test_groups_whose_names_are_too_long_are_numbered_and_remain_groups(opened, tmp_path):
    start = "a" * 45
    names = [f"{start}{which}_{i}.png" for which in "bc" for i in (1, 2)] + ["1_1.png", "1_2.png"]
    for i, name in enumerate(names):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / name)
    page = opened(**DESKTOP)
    choose(page, tmp_path, *names)
    page.get_by_role("button", name="Group by file name").click()
    fields = [field.input_value() for field in page.get_by_label("Lesion", exact=True).all()]
    short = f"{start[:36]}…"
    assert fields == [f"{short}1", f"{short}1", f"{short}2", f"{short}2", "1", "1"]


def test_a_connected_camera_is_asked_for_and_its_picture_classified(opened):
    page = opened(["camera"], **DESKTOP)
    page.get_by_role("button", name="Use a connected camera").click()
    page.locator("#camera[open]").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Take the picture").click()
    page.get_by_role("listitem").filter(has_text="camera").wait_for()
    assert page.evaluate("document.querySelector('#camera video').srcObject.active") is False
    classify(page)
    assert page.get_by_role("article").count() == 1


BUSY = """() => {
  const {mediaDevices} = navigator, open = mediaDevices.getUserMedia.bind(mediaDevices);
  window.streams = [];
  mediaDevices.getUserMedia = async wanted => {
    if (window.streams.length === 1) throw new DOMException("Could not start video source", "NotReadableError");
    window.streams.push(await open(wanted));
    return window.streams[0];
  };
}"""


def test_a_camera_that_is_busy_is_said_and_the_one_in_use_is_stopped(opened):
    page = opened(["camera"], **DESKTOP)
    page.evaluate(BUSY)
    page.get_by_role("button", name="Use a connected camera").click()
    page.locator("#camera[open]").wait_for()
    page.locator("#camera select").dispatch_event("change")  # to another camera, which another program holds
    page.get_by_role("alert").filter(has_text="Could not start video source").wait_for()
    assert not page.locator("#camera").is_visible()
    assert page.evaluate("window.streams[0].active") is False
    assert page.complaints == []


def test_a_camera_stops_where_its_picture_cannot_be_taken(opened):
    page = opened(["camera"], **DESKTOP)
    page.evaluate("() => { OffscreenCanvas.prototype.convertToBlob = async () => { throw new Error('no memory'); }; }")
    page.get_by_role("button", name="Use a connected camera").click()
    page.locator("#camera[open]").wait_for()
    stream = page.evaluate_handle("document.querySelector('#camera video').srcObject")
    page.get_by_role("button", name="Take the picture").click()
    page.get_by_role("alert").filter(has_text="no memory").wait_for()
    assert stream.evaluate("stream => stream.active") is False


def test_a_camera_that_may_not_be_used_is_said(opened):
    page = opened(**DESKTOP)
    page.get_by_role("button", name="Use a connected camera").click()
    page.get_by_role("alert").filter(has_text="No camera can be used").wait_for()


SENT = """() => {
  const send = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function (form) {
    window.sent = form.getAll("image");
    return send.call(this, form);
  };
}"""
SIZES = """() => Promise.all(window.sent.map(async file => {
  const {width, height} = await createImageBitmap(file).catch(() => ({}));
  return [width, height, file.size];
}))"""


def test_a_large_photograph_is_made_smaller_before_it_is_sent_and_keeps_its_result(opened, predictor, tmp_path):
    content = encoded(photograph(8), "JPEG", quality=92)
    (tmp_path / "large.jpg").write_bytes(content)
    (tmp_path / "cut short.jpg").write_bytes(content[: len(content) // 2])
    (expected,) = predictor.predict([images.read_image(tmp_path / "large.jpg")])
    page = opened(**DESKTOP)
    choose(page, tmp_path, "large.jpg", "cut short.jpg")
    page.evaluate(SENT)
    classify(page)
    large, damaged = page.evaluate(SIZES)
    room = 4 * predictor.manifest.image_size
    assert large[0] / large[1] == 4 / 3 and room <= large[1] < 2 * room, "halved while the network has room"
    assert damaged[2] == len(content) // 2, "as it is"
    whole, half = found(page)["predictions"]
    assert whole["probabilities"] == pytest.approx(expected.probabilities, abs=0.005)
    assert "cut short" in half["error"] or "damaged" in half["error"]
