import hashlib
import re

import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.presets.label_sets import LABEL_SETS, find_label_set, label_names, label_synsets, names_by_synset

# SHA-256, the first 16 digits, of timm 1.0.31's ImageNetInfo(label_set).label_names() and .label_descriptions(), joined by line feeds;
# scripts/make_label_sets.py prints them.
TIMM = {
    "imagenet-1k": ("385e0240499426c0", "a40d9be82eb4738b"),
    "imagenet-12k": ("009d4c9f19667ccf", "5ebe3dde6550d38e"),
    "imagenet-21k": ("c03345e3490e010d", "1cc12d5969905d8d"),
    "imagenet-22k": ("6320b72b72e43c09", "d0ec1485ef832e60"),
    "imagenet-21k-miil": ("e96927e3af1cf32c", "59bbc2483cebb08b"),
}


def digest(words):
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


@pytest.mark.parametrize("label_set", LABEL_SETS)
def test_ids_and_words_are_those_of_timm_in_its_order(label_set):
    words = [re.sub(r" \(n\d{8}\)$", "", name) for name in label_names(label_set)]
    assert (digest(label_synsets(label_set)), digest(words)) == TIMM[label_set]


@pytest.mark.parametrize("label_set", LABEL_SETS)
def test_each_class_has_a_name_of_its_own(label_set):
    names, ids = label_names(label_set), label_synsets(label_set)
    assert len(names) == len(set(names)) == len(set(ids)) == LABEL_SETS[label_set]
    for name, synset in zip(names, ids, strict=True):
        given = re.search(r" \((n\d{8})\)$", name)
        assert given is None or given[1] == synset


def test_well_known_classes_have_their_numbers():
    names = label_names("imagenet-1k")
    assert (names[0], names[207], names[281]) == ("tench, Tinca tinca", "golden retriever", "tabby, tabby cat")
    assert [name for name in names if name.startswith("crane")] == ["crane (n02012849)", "crane (n03126707)"]
    assert label_names("imagenet-21k")[0] == "organism, being"


def test_the_label_set_is_that_of_the_data_trained_on_last():
    for num_classes, tag, expected in (
        (1000, "in1k", "imagenet-1k"),
        (1000, "sbb2_e200_in12k_ft_in1k", "imagenet-1k"),
        (11_821, "laion2b_ft_in12k", "imagenet-12k"),
        (21_843, "augreg_in21k", "imagenet-21k"),
        (21_841, "mim_in22k_ft_in22k", "imagenet-22k"),
        (11_221, "in21k", "imagenet-21k-miil"),
        (1000, "augreg_in21k", None),  # a new head
        (21_843, "in22k", None),
        (1000, "my_birds", None),
        (512, "openai", None),
        (None, "mae_in1k", None),
        (1000, "spain1k", None),
        (11_821, None, "imagenet-12k"),
        (10, None, None),
    ):
        assert find_label_set(num_classes, tag) == expected, tag


def test_ids_are_translated_for_all_classes_of_a_label_set_alone():
    ids, names = label_synsets("imagenet-1k"), label_names("imagenet-1k")
    assert names_by_synset(names) == names_by_synset(ids) == dict(zip(ids, names, strict=True))
    assert names_by_synset(names[:-1]) == names_by_synset(names[::-1]) == names_by_synset(()) == {}


def test_an_unknown_label_set_is_refused_with_the_known_ones():
    with pytest.raises(InvalidArgumentError, match=r"no label set 'imagenet'.*one of imagenet-1k, "):
        label_names("imagenet")
