import json
import re
from pathlib import Path

import numpy as np
import oracle
import pytest
from explain.families import CLASSES, COVERING, FAMILIES, small_model
from explain.pages import read_page

import vit_keras
from vit_keras.config import ViTConfig
from vit_keras.errors import DataError, InvalidArgumentError, StorageError
from vit_keras.explain import anatomy, anatomy_report, attention_maps, block_features
from vit_keras.explain.anatomy_page.numbers import CORNER, HEAD_CORNER, STRONGEST
from vit_keras.explain.anatomy_page.page import format_page
from vit_keras.explain.anatomy_page.sources import find_sources
from vit_keras.explain.anatomy_page.texts import LANGUAGES, read_labels, read_steps
from vit_keras.models.vit import model_config, vit
from vit_keras.presets import load_preset

PRINTED = {"rtol": 1.6e-5, "atol": 1e-6}  # three bytes of a float32
PASSED = {"rtol": 1e-4, "atol": 1e-5}
CONFIG = ViTConfig(image_size=(16, 24), patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
NAMES = ("cat", "dog", "owl", "<b>fox</b>", "elk")


@pytest.fixture(scope="module", params=COVERING)
def passed(request):
    model = small_model(request.param)
    image = np.random.default_rng(0).integers(0, 256, (*model_config(model).image_size, 3)).astype("uint8")
    return anatomy(model, image, class_names=NAMES)


def test_the_steps_are_the_model_s_own_forward_pass(passed):
    model, config, images = passed.model, passed.config, passed.image[None]
    if config.stem == "patch":
        flat = oracle.patches(
            oracle.pixel_normalization(images, config.pixel_mean, config.pixel_std), config.patch_size
        )
        np.testing.assert_allclose(passed.patches, flat[0], **PASSED)
    before = np.concatenate([passed.prefix, passed.projected])
    np.testing.assert_allclose(
        passed.embedded, before if passed.positions is None else before + passed.positions, **PASSED
    )
    np.testing.assert_allclose(passed.tokens[1:], block_features(model, images, blocks=None)[:, 0], **PASSED)
    predicted = np.asarray(model(images.astype("float32"), training=False))[0]
    np.testing.assert_allclose(passed.output, predicted, **PASSED)
    np.testing.assert_allclose(passed.logits, predicted, **PASSED)  # these models end in logits
    np.testing.assert_allclose(passed.head_logits.mean(0), predicted, **PASSED)
    np.testing.assert_allclose(passed.depth_logits[-1], predicted, **PASSED)
    head = model.get_layer("head")
    said = passed.features @ np.asarray(head.kernel) + np.asarray(head.bias)
    np.testing.assert_allclose(passed.head_logits[0], said, **PASSED)
    for number in range(config.num_layers):
        np.testing.assert_allclose(passed.block(number).output, passed.tokens[number + 1], **PASSED)


def test_every_number_of_a_page_is_one_of_the_forward_pass(passed):
    config = passed.config
    if (config.relative_position, config.block_norm) != ("none", "before"):
        with pytest.raises(
            InvalidArgumentError, match=r"The anatomy page has no steps for (block_norm|relative_position)="
        ):
            format_page(passed, title="tiny")
        return
    facts, arrays = read_page(format_page(passed, title="tiny"))
    np.testing.assert_array_equal(arrays["pixels"], passed.image)
    shown = ("patches", "projected", "prefix", "positions", "embedded", "tokens", "normalized", "pooled", "features")
    for name in shown:
        if getattr(passed, name) is None:
            assert name == "positions"
            assert name not in arrays
        else:
            np.testing.assert_allclose(arrays[name], getattr(passed, name)[..., :CORNER], **PRINTED)
    maps = attention_maps(passed.model, passed.image)[:, 0]  # (layers, heads, tokens, tokens)
    prefix = config.num_prefix_tokens
    for number in range(config.num_layers):
        record = passed.block(number)
        for name in ("normed", "attended", "after_attention", "mlp_normed", "expanded", "contracted"):
            np.testing.assert_allclose(arrays[name][number], getattr(record, name)[:, :CORNER], **PRINTED)
        for name in ("queries", "keys", "values", "heads"):
            np.testing.assert_allclose(arrays[name][number], getattr(record, name)[..., :HEAD_CORNER], **PRINTED)
        strongest = prefix + arrays["strongest"][number].astype(int)
        assert strongest.shape[-1] == STRONGEST
        for name, whole in {"weights": maps[number], "scores": record.scores}.items():
            seen = arrays[f"shown_{name}"][number]
            np.testing.assert_allclose(seen[..., :prefix], whole[..., :prefix], **PASSED)
            np.testing.assert_allclose(seen[..., prefix:], np.take_along_axis(whole, strongest, -1), **PASSED)
        least = np.take_along_axis(maps[number], strongest, -1).min(-1, keepdims=True)
        assert ((maps[number][..., prefix:] > least).sum(-1) < STRONGEST).all()
        # Attention in colors, from queries and keys in 8 bits.
        queries, keys = (
            arrays[f"{name}_colors"][number] * arrays[f"{name}_scales"][number][..., None] for name in ("query", "key")
        )
        colored = oracle.softmax(queries @ keys.swapaxes(-1, -2) / np.sqrt(queries.shape[-1]))
        assert np.abs(colored - maps[number]).max() < 0.02
    np.testing.assert_allclose(arrays["logits"], passed.model.predict(passed.image[None], verbose=0)[0], **PASSED)
    best = np.argsort(-passed.logits)
    assert [each["name"] for each in facts["classes"]] == [NAMES[number] for number in best]
    shares = oracle.softmax(passed.logits)[best]
    np.testing.assert_allclose([each["probability"] for each in facts["classes"]], shares, **PASSED)
    np.testing.assert_allclose([each["logit"] for each in facts["classes"]], passed.logits[best], **PASSED)
    np.testing.assert_allclose(arrays["depth_probabilities"][-1], shares, **PASSED)


@pytest.fixture(scope="module")
def small():
    return oracle.randomize(vit(CONFIG, num_classes=CLASSES), seed=2)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3))


def test_markup_in_names_stays_text_and_fractional_pixels_are_kept(small, image):
    names = ["</script><script>alert(1)</script>", *NAMES[1:]]
    page = format_page(anatomy(small, image + 0.25, class_names=names), title="<i>x</i>")
    assert page.count("<script") == 3
    assert "<i>x</i>" not in page
    facts, arrays = read_page(page)
    assert names[0] in [each["name"] for each in facts["classes"]]
    assert facts["model"] == "<i>x</i>"
    np.testing.assert_allclose(arrays["pixels"], image + 0.25, **PRINTED)


def test_without_a_head_it_ends_in_features_and_a_head_of_probabilities_shows_its_logits(image):
    for head in ({}, {"num_classes": 3, "classifier_activation": "softmax"}):
        model = oracle.randomize(vit(CONFIG, **head), seed=2)
        facts, arrays = read_page(format_page(anatomy(model, image), title="tiny"))
        output = oracle.softmax(arrays["logits"]) if head else arrays["output"]
        np.testing.assert_allclose(output, model.predict(image[None], verbose=0)[0], **PASSED)
        assert bool(facts["classes"]) == ("logits" in arrays) == bool(head)


@pytest.mark.parametrize("config", [FAMILIES[name] for name in COVERING], ids=COVERING)
def test_every_family_has_texts_for_every_step(config):
    texts = {language: read_steps(config, num_classes=7, language=language) for language in LANGUAGES}
    assert [step["name"] for step in texts["en"]] == list(find_sources(config))
    for steps in texts.values():
        for step in steps:
            assert step["title"]
            assert not {"{", "}"} & set(step["text"])
    assert [step["shape"] for step in texts["en"]] == [step["shape"] for step in texts["ru"]]


def test_both_languages_have_the_same_labels_and_sources_are_at_their_lines():
    english, russian = (read_labels(CONFIG, num_classes=3, language=language, model="tiny") for language in LANGUAGES)
    assert english.keys() == russian.keys()
    for name, label in english.items():
        assert set(re.findall(r"\[\w+\]", label)) == set(re.findall(r"\[\w+\]", russian[name])), name
    root = Path(vit_keras.__file__).parents[1]
    for step in find_sources(CONFIG).values():
        for source in step:
            line = (root / source["file"]).read_text("utf-8").splitlines()[source["line"] - 1]
            assert line.strip() == source["text"].splitlines()[0].strip()
            assert source["name"].split(".")[-1] in source["text"]


def test_wrong_arguments_are_refused(small, image, tmp_path):
    with pytest.raises(DataError, match="anatomy takes one image, not 2"):
        anatomy(small, np.stack([image, image]))
    with pytest.raises(InvalidArgumentError, match="got 2 names for the 5 classes"):
        anatomy(small, image, class_names=["cat", "dog"])
    with pytest.raises(StorageError, match="could not be written"):
        anatomy_report(small, image, tmp_path / "nowhere" / "page.html")


def test_a_page_of_s16_is_small(tmp_path):
    model = oracle.randomize(vit(load_preset("vit_small_patch16_224").config, num_classes=10))
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3))  # nothing compresses worse
    path = tmp_path / "page.html"
    anatomy_report(model, noise, path)
    assert path.stat().st_size < 5_000_000
    facts = json.dumps(read_page(path.read_text("utf-8"))[0])
    assert len(facts) < 200_000
