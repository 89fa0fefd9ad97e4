"""What a notebook shows of a preset."""

import vit_keras as vk


def test_html_has_costs_and_weights() -> None:
    html = vk.preset_info("vit_base_patch16_224")._repr_html_()
    assert "85,798,656" in html
    assert "augreg_in1k" in html
    assert "79.2" in html


def test_a_preset_without_weights_says_so() -> None:
    assert "No trained weights" in vk.preset_info("vit_nano_conv8_96")._repr_html_()
