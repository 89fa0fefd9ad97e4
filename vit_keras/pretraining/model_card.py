"""The model card of a pre-trained encoder."""

from collections.abc import Mapping
from typing import Any

from vit_keras.data.tasks import describe_count
from vit_keras.training.runs.model_card import data_section, license_section, training_section


def encoder_card_notes(record: Mapping[str, Any]) -> str:
    """Returns what the encoder is, how it was trained, on what, and its license (to be filled in), as Markdown for `write_card`."""
    data = record["data"]
    intro = (
        "## Use\n\nAn encoder without a head, pre-trained on images without labels. It classifies nothing yet: fine-tune it,\n"
        'for example `vk.finetune("path/to/this", "photos")`, or use its features.\n'
    )
    numbers = {name: value for name, value in record["results"].items() if isinstance(value, float)}
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in numbers.items())
    results = f"## Results\n\nOn {data['images']['validation']:,} images held out.\n\n| measure | value |\n|---|---|\n{rows}\n"
    images = describe_count(data["task"], len(data["class_names"]))
    return "\n" + "\n".join(
        [intro, results, training_section(record), data_section(record, images), license_section(record)]
    )
