"""The page in a real browser; skipped without one."""

import csv
import io

import numpy as np
import pytest
from explain.pages import CHROMIUM, DRIVER, HOSTILE_NAMES, browser, find_overflowing, requests, resize
from PIL import Image

import vit_keras as vk
from vit_keras.explain import attention_maps
from vit_keras.serving.model_service import ModelService
from vit_keras.serving.server import ModelServer
from vit_keras.zoo.load_model import open_model
from vit_keras.zoo.save_preset import save_preset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
CONTRASTS = """
const luminance = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (one) => {
  for (let at = one; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (!/, 0\\)$/.test(color) && color !== "transparent") return color;
  }
  return "rgb(255, 255, 255)";
};
const low = [];
for (const one of document.querySelectorAll("h1, h2, p, td, th, button, label, legend, output, figcaption, summary, a, code")) {
  if (!one.offsetParent || !one.textContent.trim()) continue;
  const [a, b] = [luminance(getComputedStyle(one).color), luminance(behind(one))].sort();
  if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) low.push(one.outerHTML.slice(0, 120));
}
return low;
"""


@pytest.fixture(scope="module")
def model_folder(tiny_model, tmp_path_factory):
    return save_preset(tiny_model, tmp_path_factory.mktemp("served") / "pets", class_names=HOSTILE_NAMES)


@pytest.fixture(scope="module")
def start():
    """Returns a function that serves a model; all end with the module."""
    started = []

    def begin(opened, name, report=None):
        service, server = ModelService(opened, name, report=report), ModelServer(port=0)
        server.start(service)
        started.append((server, service))
        return server

    yield begin
    for server, service in started:
        server.end()
        service.end()


@pytest.fixture(scope="module")
def server(start, model_folder):
    return start(open_model(model_folder), "pets", report=b"<!DOCTYPE html><title>run</title><h1>Run</h1>")


@pytest.fixture(scope="module")
def driver():
    opened = browser("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    yield opened
    opened.quit()


@pytest.fixture
def opened(driver, server):
    driver.get_log("browser")
    driver.get_log("performance")
    resize(driver, 1280)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    visit(driver, server.url)
    return driver


def visit(driver, url):
    driver.get(url)
    until(driver, "return document.getElementById('facts').textContent !== ''")


def until(driver, script, *arguments):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 30).until(lambda one: one.execute_script(script, *arguments))


def text(driver, name):
    return driver.find_element("id", name).text


def give(driver, *paths):
    driver.find_element("id", "files").send_keys("\n".join(map(str, paths)))
    done(driver)


def done(driver):
    until(driver, "return entries.length && entries.every((each) => each.answer || each.error)")


def explained(driver):
    until(driver, "return chosen.maps !== null")


def pixels(driver):
    return driver.execute_script("return document.getElementById('picture').toDataURL()")


@pytest.fixture
def pictures(tmp_path, rng):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f'cat {number}, "é".png')
        Image.fromarray(rng.integers(0, 256, (40, 60, 3)).astype("uint8")).save(paths[-1])
    return paths


def test_one_image_is_classified_with_bars_time_and_attention(opened, server, model_folder, pictures):
    assert text(opened, "model") == "pets"
    assert text(opened, "facts").startswith("3 classes; images of 16x16 px")
    give(opened, pictures[0])
    (expected,) = vk.predict(model_folder, pictures[0])
    assert text(opened, "answer") == expected.classes[0]
    rows = [
        [cell.text for cell in row.find_elements("css selector", "td")]
        for row in opened.find_elements("css selector", "#classes tbody tr")
    ]
    assert [row[0] for row in rows] == list(expected.classes)
    assert [row[2] for row in rows] == [f"{100 * each:.1f} %" for each in expected.probabilities]
    widths = opened.execute_script(
        "return [...document.querySelectorAll('#classes i')].map((bar) => parseFloat(bar.style.width))"
    )
    np.testing.assert_allclose(widths, 100 * np.array(expected.probabilities), rtol=1e-3)
    assert " ms: " in text(opened, "time")
    assert text(opened, "status") == f"{pictures[0].name}: {expected.classes[0]}"
    explained(opened)
    assert "What the class token attends to in block 2" in text(opened, "caption")
    assert opened.execute_script("return document.images.length") == 0  # markup in a class name stays text
    assert opened.get_log("browser") == []
    assert all(url.startswith((server.url, "blob:", "data:")) for url in requests(opened))


def test_the_overlay_follows_the_way_and_the_block_by_keyboard(opened, pictures, model_folder):
    from selenium.webdriver.common.keys import Keys

    give(opened, pictures[0])
    explained(opened)
    seen = [pixels(opened)]
    slider = opened.find_element("id", "block")
    slider.send_keys(Keys.ARROW_LEFT)
    assert text(opened, "block-number") == "1 of 2"
    seen.append(pixels(opened))
    opened.find_element("css selector", "input[value=attention]").send_keys(Keys.ARROW_RIGHT)
    slider.send_keys(Keys.ARROW_RIGHT)  # in the first block both are the same but for their scale
    assert "contributes to the class token through blocks 1 to 2" in text(opened, "caption")
    seen.append(pixels(opened))
    opened.find_element("css selector", "input[value=rollout]").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert text(opened, "caption") == "As the model sees it: 16 × 16 px."
    assert not slider.is_displayed()
    seen.append(pixels(opened))
    assert len(set(seen)) == 4
    maps = opened.execute_script("return chosen.maps.attention")
    model = vk.load_model(model_folder)
    image = Image.open(pictures[0]).resize((16, 16), Image.Resampling.BICUBIC, box=(10, 0, 50, 40))
    expected = attention_maps(model, np.asarray(image)).mean(2)[:, 0, 0, 1:].reshape(2, 2, 2)
    np.testing.assert_allclose(maps, expected, rtol=2e-3)


def test_several_images_are_a_table_and_a_csv(opened, model_folder, pictures, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"<!DOCTYPE html>")
    give(opened, *pictures, bad)
    assert text(opened, "all-title") == "5 images"
    assert len(opened.find_elements("css selector", "#all tbody tr")) == 5
    assert "bad.jpg: not a supported image" in opened.find_element("css selector", "#all td.error").text
    expected = vk.predict(model_folder, [*pictures, bad]).save(tmp_path / "expected.csv")
    with open(expected, encoding="utf-8", newline="") as file:
        wanted = list(csv.reader(file))
    rows = list(csv.reader(io.StringIO(opened.execute_script("return csv()"))))
    assert rows[0] == wanted[0]
    for found, row, path in zip(rows[1:], wanted[1:], [*pictures, bad], strict=True):
        assert found[0] == path.name
        assert found[1::2][:-1] == row[1::2][:-1]  # names of the classes
        np.testing.assert_allclose(
            [float(cell or 0) for cell in found[2:7:2]], [float(cell or 0) for cell in row[2:7:2]], rtol=1e-4
        )
        assert bool(found[-1]) == bool(row[-1])
    opened.find_elements("css selector", "#all td.name button")[2].click()
    assert text(opened, "name") == pictures[2].name
    assert opened.execute_script("return document.querySelectorAll('#all tr[aria-current]').length") == 1
    explained(opened)  # after which nothing moves under the pointer
    opened.find_element("id", "clear").click()
    assert not opened.find_element("id", "all").is_displayed()
    assert not opened.find_element("id", "result").is_displayed()


def test_the_csv_is_downloaded(opened, pictures, tmp_path):
    opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "got")})
    give(opened, *pictures)
    opened.find_element("id", "csv").click()
    expected = opened.execute_script("return csv()")
    file = tmp_path / "got" / "predictions.csv"
    until(opened, "return true")
    for _ in range(100):
        if file.exists() and file.read_text("utf-8") == expected:
            break
        opened.execute_async_script("setTimeout(arguments[0], 50)")
    assert file.read_text("utf-8") == expected


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_images_are_dropped_and_pasted(opened, way):
    opened.execute_async_script(
        """
        const [way, done] = arguments;
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 40;
        canvas.getContext("2d").fillRect(5, 5, 20, 20);
        canvas.toBlob((blob) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], "image.png", { type: "image/png" }));
          const options = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
          document.body.dispatchEvent(way === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options));
          done();
        });
        """,
        way,
    )
    done(opened)
    assert text(opened, "name") == ("image.png" if way == "drop" else "pasted 1.png")
    assert text(opened, "answer") in HOSTILE_NAMES


def test_what_is_no_image_is_said(opened, tmp_path):
    path = tmp_path / "notes.pdf"
    path.write_bytes(b"%PDF-1.7")
    give(opened, path)
    assert "notes.pdf: not a supported image (it looks like a PDF" in text(opened, "answer")
    assert opened.find_element("id", "status").get_attribute("class") == "error"
    opened.execute_script("document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: new DataTransfer() }))")
    opened.execute_script(
        "document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, dataTransfer: new DataTransfer() }))"
    )
    assert "no image file in what was dropped" in text(opened, "status")


def test_the_camera_takes_pictures(opened):
    opened.find_element("id", "open-camera").click()
    until(opened, "return document.getElementById('video').videoWidth > 0")
    opened.find_element("id", "shoot").click()
    done(opened)
    assert text(opened, "name") == "camera 1.png"
    opened.find_element("id", "close-camera").click()
    assert not opened.find_element("id", "camera").is_displayed()
    assert opened.switch_to.active_element.get_attribute("id") == "open-camera"


def test_the_report_is_linked_and_opens(opened, start, tiny_preset):
    opened.find_element("id", "report").click()
    until(opened, "return document.title === 'run'")
    visit(opened, start(open_model(tiny_preset), "tiny").url)
    assert not opened.find_element("id", "report").is_displayed()


def test_other_tasks_are_shown_in_their_own_way(opened, start, model_folder, tiny_model, pictures):
    from dataclasses import replace

    found = open_model(model_folder)
    tagged = start(replace(found, task="multi_label", threshold=0.0), "tags")
    visit(opened, tagged.url)
    give(opened, *pictures[:2])
    assert set(HOSTILE_NAMES) <= set(opened.execute_script("return chosen.answer.labels"))
    assert "at least 0.0 % are the image's labels" in text(opened, "time")
    assert opened.execute_script("return csv()").startswith("image,labels,class_1,probability_1")
    visit(opened, start(replace(found, task="regression", class_names=("a", "b", "c")), "numbers").url)
    give(opened, *pictures[:2])
    assert [cell.text for cell in opened.find_elements("css selector", "#classes td.name")] == ["a", "b", "c"]
    assert opened.execute_script("return csv()").startswith("image,a,b,c,error\n")
    visit(opened, start(open_model(tiny_model), "numbered").url)
    give(opened, pictures[0])
    assert text(opened, "answer") in {"class 0", "class 1", "class 2"}


def test_every_control_has_a_name_and_is_reached_by_tab(opened, pictures):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    give(opened, *pictures[:2])
    explained(opened)
    controls = [
        one
        for one in opened.find_elements("css selector", "button, input, a, summary, [tabindex]")
        if one.is_displayed()
    ]
    assert len(controls) > 10
    assert all(one.accessible_name for one in controls)
    assert opened.find_element("id", "picture").accessible_name.startswith(pictures[0].name)
    opened.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(len(controls) + 2):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        reached.add(opened.switch_to.active_element)
    radios = {one for one in controls if one.get_attribute("type") == "radio"}
    assert set(controls) - radios <= reached
    assert len(radios & reached) == 1  # arrows move inside a group


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_and_every_text_can_be_read(opened, pictures, tmp_path, width, dark):
    resize(opened, width)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    bad = tmp_path / "a-very-long-file-name-without-any-space-that-has-to-be-broken-somewhere-or-it-is-too-wide.png"
    bad.write_bytes(b"")
    give(opened, *pictures, bad)
    explained(opened)
    opened.execute_script("document.getElementById('programs').open = true")
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    assert find_overflowing(opened, "header, section, .panel", unless=".scroll") == []
    assert opened.execute_script(CONTRASTS) == []
    background = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(16, 20, 27)" if dark else "rgb(246, 247, 249)")


def test_the_policy_of_the_page_blocks_other_hosts_and_inline_scripts(opened):
    blocked = opened.execute_async_script(
        """
        const done = arguments[0];
        const blocked = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          blocked.push(event.effectiveDirective);
          if (blocked.length === 3) done(blocked);
        });
        fetch("http://localhost:1/").catch(() => {});
        new Image().src = "http://localhost:1/x.png";
        try {
          document.createElement("button").setAttribute("onclick", "alert(1)");
        } catch (error) {
          if (!(error instanceof TypeError)) throw error;
        }
        """
    )
    assert sorted(blocked) == ["connect-src", "img-src", "require-trusted-types-for"]
    opened.get_log("browser")


def test_when_the_server_is_gone_the_page_says_so(opened, start, model_folder, pictures):
    server = start(open_model(model_folder), "gone")
    visit(opened, server.url)
    server.end()
    give(opened, pictures[0])
    assert text(opened, "answer") == "The server does not answer. Is it still running?"
    opened.get_log("browser")
