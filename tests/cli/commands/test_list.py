import json

from vit_keras.presets import list_presets, preset_info


def test_list_shows_every_preset_that_matches(run):
    for arguments, expected in (((), list_presets()), (("*huge*",), list_presets("*huge*"))):
        code, out, err = run("list", *arguments)
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()[1:]] == expected
        assert "parameters" in out.splitlines()[0]


def test_json_is_what_preset_info_says_and_no_match_exits_2(run, refused):
    code, out, err = run("list", "vit_tiny_*", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [preset_info(name) for name in list_presets("vit_tiny_*")]
    assert refused(2, "No preset matches 'resnet*'", "list", "resnet*") == ""


def test_presets_with_weights_and_those_to_start_with_are_marked(run):
    lines = [line.split() for line in run("list")[1].splitlines()]
    assert lines[0][-3:] == ["weights", "start", "with"]
    rows = {name: rest for name, *rest in lines[1:]}
    starts = {name: rest[-1] for name, rest in rows.items() if rest[-1] in ("train", "finetune")}
    assert starts == {"vit_nano_conv8_96": "train", "vit_small_patch16_224": "finetune"}
    counts = {name: rest[-2] if name in starts else rest[-1] for name, rest in rows.items()}
    assert counts == {name: str(len(preset_info(name)["weights"]) or "-") for name in list_presets()}
    assert counts["vit_nano_conv8_96"] == "-"
    assert (
        "augreg_in21k" in preset_info("vit_small_patch16_224")["weights"]
    )  # the tag in the examples of `finetune --help`
