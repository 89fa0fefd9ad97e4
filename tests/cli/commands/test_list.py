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
