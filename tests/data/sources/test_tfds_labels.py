import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.data.sources.tfds_labels import read_label_feature


@pytest.fixture
def load_labels(tmp_path):
    """Returns a loader of a data set of 20 images with these labels."""
    import tensorflow_datasets as tfds

    def made(name, feature, labels):
        images = [np.full((8, 8, 3), index, "uint8") for index in range(len(labels))]
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(8, 8, 3)), "label": feature})
        methods = {
            "VERSION": tfds.core.Version("1.0.0"),
            "__module__": __name__,
            "_info": lambda self: tfds.core.DatasetInfo(builder=self, features=features),
            "_split_generators": lambda self, _: {"train": self._generate_examples()},
            "_generate_examples": lambda self: (
                (index, {"image": image, "label": label})
                for index, (image, label) in enumerate(zip(images, labels, strict=True))
            ),
        }
        tfds.disable_progress_bar()
        builder = type(name, (tfds.core.GeneratorBasedBuilder,), methods)
        data = load(builder(data_dir=str(tmp_path)))
        found = {}
        for split in data.splits.values():
            for index in range(len(split)):
                found[int(split.image(index).max())] = split.labels[index]
        return data, [found[index] for index in range(len(labels))]

    return made


def test_a_sequence_of_classes_is_any_number_of_classes_per_image(load_labels):
    import tensorflow_datasets as tfds

    labels = [["cat", "owl"], ["dog"], [], ["owl"]] * 5
    feature = tfds.features.Sequence(tfds.features.ClassLabel(names=["cat", "dog", "owl"]))
    data, rows = load_labels("ManyClasses", feature, labels)
    assert (data.task, data.class_names) == ("multi_label", ("cat", "dog", "owl"))
    assert [{data.class_names[at] for at in np.flatnonzero(row)} for row in rows] == [set(each) for each in labels]


@pytest.mark.parametrize("shape", [(), (2,)])
def test_numbers_are_a_regression(shape, load_labels):
    import tensorflow_datasets as tfds

    numbers = np.random.default_rng(0).normal(size=(20, *shape)).astype("float32")
    data, rows = load_labels(f"Numbers{len(shape)}", tfds.features.Tensor(shape=shape, dtype=np.float32), list(numbers))
    assert (data.task, len(data.class_names)) == ("regression", 2 if shape else 1)
    np.testing.assert_array_equal(np.stack(rows), numbers.reshape(20, -1))


def test_other_features_are_no_labels():
    import tensorflow_datasets as tfds

    for feature in (
        tfds.features.Text(),
        tfds.features.Tensor(shape=(None,), dtype=np.float32),
        tfds.features.Scalar(np.int64),
    ):
        assert read_label_feature(feature) is None
