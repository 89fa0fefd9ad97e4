"""The anatomy page in a real browser; skipped without one."""

import numpy as np
import oracle
import pytest
from explain.pages import CHROMIUM, DRIVER, HOSTILE_NAMES, browser, find_overflowing, requests, resize

from vit_keras.config import ViTConfig
from vit_keras.explain import anatomy_report, attention_maps
from vit_keras.models.vit import vit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
CONFIG = ViTConfig(
    image_size=(64, 96), patch_size=16, hidden_dim=48, num_layers=3, num_heads=3, mlp_dim=96, num_registers=2, layer_scale=0.5
)  # fmt: skip
OVERLAPPING = """
const boxes = [...document.querySelectorAll("section")].map((one) => one.getBoundingClientRect());
return boxes.filter((box, at) => boxes.slice(at + 1).some((other) => other.top < box.bottom - 1)).length;
"""


@pytest.fixture(scope="module")
def model():
    return oracle.randomize(vit(CONFIG, num_classes=len(HOSTILE_NAMES)), seed=1)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype("uint8")


@pytest.fixture(scope="module")
def page(model, image, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "anatomy.html"
    anatomy_report(model, image, path, class_names=HOSTILE_NAMES, title="tiny")
    return path


@pytest.fixture(scope="module")
def driver():
    opened = browser()
    yield opened
    opened.quit()


@pytest.fixture
def opened(driver, page):
    driver.get_log("browser")
    driver.get_log("performance")
    resize(driver, 1280)
    driver.get(page.as_uri())
    driver.implicitly_wait(10)
    driver.find_element("id", "classifier")
    return driver


def table(driver, step):
    return driver.execute_script(
        "return [...[...document.querySelectorAll(`#${arguments[0]} table`)].at(-1).rows].map("
        "(row) => [...row.querySelectorAll('td')].map((cell) => cell.innerText))",
        step,
    )


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def press(driver, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()
    settled(driver)


def settled(driver):
    # until what was changed is drawn
    driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));")


def caption(driver):
    return driver.find_element("css selector", "aside figcaption").text


def test_it_opens_from_disk_asks_for_nothing_and_names_its_controls(opened, page):
    assert opened.get_log("browser") == []
    assert requests(opened) == [page.as_uri()]
    assert len(opened.find_elements("css selector", "section")) == 16
    answer = table(opened, "classifier")[1:]
    assert sorted(row[0] for row in answer) == sorted(HOSTILE_NAMES)
    assert opened.execute_script("return document.images.length") == 0
    picture = opened.find_element("id", "looks")
    assert picture.get_attribute("aria-label") == "Attention of the class token in block 3, head 1"
    assert picture.get_attribute("tabindex") == "0"
    for slider in opened.find_elements("css selector", "input"):
        label = opened.find_element("css selector", f"label[for={slider.get_attribute('id')}]")
        assert label.text in ("Block", "Head")


def test_printed_numbers_are_the_model_s(opened, model, image):
    logits = model.predict(image[None], verbose=0)[0]
    printed = [number(row[1]) for row in table(opened, "classifier")[1:]]
    np.testing.assert_allclose(printed, np.sort(logits)[::-1], rtol=1e-4, atol=1e-4)
    press(opened, "B", "h")  # from the last block, first head
    assert caption(opened) == "Attention of the class token in block 2, head 2"
    row = attention_maps(model, image, layers=1, heads=1)[0, 0, 0, 0]
    shares = [number(cells[2]) for cells in table(opened, "softmax")[1:-1]]
    prefix = CONFIG.num_prefix_tokens
    np.testing.assert_allclose(shares[:prefix], row[:prefix], atol=1e-4)
    np.testing.assert_allclose(shares[prefix:], np.sort(row[prefix:])[::-1][: len(shares) - prefix], atol=1e-4)
    rest = number(table(opened, "softmax")[-1][2])
    np.testing.assert_allclose(sum(shares) + rest, 1, atol=1e-3)


def test_pointer_block_head_and_keys_change_what_is_shown(opened):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    picture = opened.find_element("id", "looks")

    def seen():
        pixels = opened.execute_script("return document.getElementById('looks').toDataURL()")
        return pixels, [table(opened, step) for step in ("softmax", "heads", "residual", "mlp")]

    def changed(before):
        now = seen()
        assert now[0] != before[0]
        assert all(new != old for new, old in zip(now[1], before[1], strict=True))
        return now

    def shows(words):
        settled(opened)
        assert words in caption(opened)

    first = seen()
    ActionChains(opened).move_to_element_with_offset(
        picture, round(-0.29 * picture.size["width"]), picture.size["height"] // 8
    ).perform()
    shows("patch in row 3, column 2")
    second = changed(first)
    press(opened, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    shows("patch in row 2, column 3")
    third = changed(second)
    press(opened, "b")  # round to the first block
    shows("block 1, head 1")
    changed(third)
    opened.find_element("css selector", "#joined .small button:nth-child(3)").click()
    shows("block 1, head 3")
    opened.find_element("css selector", "#depth .small button:nth-child(2)").click()
    shows("block 2, head 3")
    press(opened, "c")
    shows("the class token")
    press(opened, "c")
    shows("register 1")
    opened.find_element("id", "choose-block").send_keys(Keys.ARROW_LEFT)
    shows("block 1")
    assert opened.get_log("browser") == []


def test_the_language_can_be_changed_to_russian(opened):
    english = opened.find_element("tag name", "body").text
    opened.find_element("id", "language").click()
    settled(opened)
    russian = opened.find_element("tag name", "body").text
    assert "Разрезано на патчи" in russian
    assert opened.find_element("tag name", "html").get_attribute("lang") == "ru"
    for sentence in ("The dot product", "Attention of", "The first of"):
        assert sentence not in russian
    press(opened, "l")
    assert opened.find_element("tag name", "body").text == english


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_nothing_overlaps(opened, width, language):
    resize(opened, width)
    if language == "ru":
        opened.find_element("id", "language").click()
        settled(opened)
    for details in opened.find_elements("css selector", "details"):
        opened.execute_script("arguments[0].open = true", details)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    assert find_overflowing(opened, "section, aside, header", unless=".scroll, pre, svg, .equation") == []
    assert opened.execute_script(OVERLAPPING) == 0
