import csv
import io
import json

from vit_keras.presets import list_presets, list_weights, preset_info


def rows(printed):
    """Returns the lines of a list but for the headings of families and the empty lines before them."""
    return [line.split() for line in printed.splitlines() if line and not line.startswith("#")]


def test_list_shows_every_preset_that_matches(run):
    for arguments, expected in (((), list_presets()), (("*huge*",), list_presets("*huge*"))):
        code, out, err = run("list", *arguments)
        assert (code, err) == (0, "")
        assert sorted(name for name, *_ in rows(out)[1:]) == expected
        assert "parameters" in out.splitlines()[0]


def test_presets_stand_below_their_family(run):
    printed = run("list", "*giant*_224")[1]
    found, family = [], None
    for line in printed.splitlines()[1:]:
        family = line if line.startswith("#") else family
        if line and not line.startswith("#"):
            found.append((line.split()[0], family))
    infos = sorted(map(preset_info, list_presets("*giant*_224")), key=lambda info: (info["family"], info["name"]))
    assert found == [(info["name"], f"# {info['family']}: {info['description']}") for info in infos]
    assert len({line.rindex("px") for line in printed.splitlines() if "px" in line and line[0] != "#"}) == 1  # aligned


def test_json_is_what_preset_info_says_and_no_match_exits_2(run, refused):
    code, out, err = run("list", "vit_tiny_*", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [preset_info(name) for name in list_presets("vit_tiny_*")]
    assert refused(2, "No preset matches 'resnet*'", "list", "resnet*") == ""


def test_presets_with_weights_and_those_to_start_with_are_marked(run):
    lines = rows(run("list")[1])
    assert lines[0][-3:] == ["weights", "start", "with"]
    cells = {name: rest for name, *rest in lines[1:]}
    starts = {name: rest[-1] for name, rest in cells.items() if rest[-1] in ("train", "finetune")}
    assert starts == {"vit_nano_conv8_96": "train", "vit_small_patch16_224": "finetune"}
    counts = {name: rest[-2] if name in starts else rest[-1] for name, rest in cells.items()}
    assert counts == {name: str(len(preset_info(name)["weights"]) or "-") for name in list_presets()}
    assert counts["vit_nano_conv8_96"] == "-"
    assert (
        "augreg_in21k" in preset_info("vit_small_patch16_224")["weights"]
    )  # the tag in the examples of `finetune --help`


def test_weights_in_the_package_are_named_with_their_license_and_what_they_are_not(run):
    said = " ".join(run("list", "vit_nano_conv8_*")[1].split())
    assert "vit_nano_conv8_32:drawings is in the package, Apache-2.0; kinds of emoji" in said
    assert "not an ImageNet model: it has seen no photo" in " ".join(run("info", "vit_nano_conv8_64")[1].split())


def test_conditions_and_an_order_give_a_flat_list_that_fits_80_columns(run):
    code, out, err = run("list", "--pretraining", "self_supervised", "--license", "Apache-2.0", "--sort", "params")
    assert (code, err) == (0, "")
    expected = list_presets(pretraining="self_supervised", license="Apache-2.0", sort_by="params")
    assert [line.split()[0] for line in out.splitlines()[1:-3]] == expected
    for arguments in (("--sort", "name"), ("--best", "2000M"), ("--best", "5000G")):
        code, out, _ = run("list", *arguments)
        assert code == 0
        assert (
            max(len(line.rstrip()) for line in out.splitlines() if "hf://" not in line) <= 80
        )  # an address is not cut
    names = [info["name"] for info in json.loads(run("list", "--family", "dinov2", "--max-params", "90M", "--json")[1])]
    assert names == list_presets(family="dinov2", max_params=90e6)


def test_the_accuracy_of_a_row_is_that_of_the_weights_that_were_asked_for(run):
    weights = preset_info("vit_base_patch16_clip_224")["weights"]
    for condition in ({"label_set": "imagenet-1k"}, {"license": "Apache-2.0"}, {"label_set": "imagenet-12k"}):
        arguments = [word for name, value in condition.items() for word in (f"--{name.replace('_', '-')}", value)]
        row = run("list", "vit_base_patch16_clip_224", *arguments)[1].splitlines()[1].split()
        chosen = [each for each in weights.values() if condition.items() <= each.items()]
        top1 = max((each["top1"] for each in chosen if each["top1"]), default=None)
        assert row[-2:] == ["-" if top1 is None else f"{top1:.2f}", str(len(chosen))]


def test_best_names_the_most_accurate_weights_within_a_budget_with_their_sources(run):
    for budget, limit in (("10M", {"max_params": 10e6}), ("0.01B", {"max_params": 10e6}), ("5G", {"max_gmacs": 5})):
        rows = json.loads(run("list", "--best", budget, "--image-size", 224, "--json")[1])
        expected = list_weights(sort_by="top1", image_size=224, min_top1=0.1, **limit)[:10]
        assert [row["weights"] for row in rows] == expected
        assert all(row["url"].startswith(("hf://", "https://")) and row["license"] for row in rows)
        code, out, err = run("list", "--best", budget, "--image-size", 224)
        assert (code, err) == (0, "")
        assert [line.split()[0] for line in out.splitlines()[1 : len(rows) + 1]] == expected
        for said in (rows[0]["url"], rows[0]["license"], rows[0]["paper"], "by timm or the paper"):
            assert said in out


def test_best_says_when_the_license_has_to_be_accepted(run, monkeypatch):
    assert "accept_license" not in run("list", "test_vit", "--best", "1M")[1]
    monkeypatch.setattr("vit_keras.presets.preset._FREE_LICENSES", ())  # the best weights of all are free today
    assert (
        "license    Apache-2.0, to be accepted with accept_license=True" in run("list", "test_vit", "--best", "1M")[1]
    )


def test_mistyped_conditions_and_empty_results_exit_2(refused):
    assert refused(2, "--max-params 5x: expected a positive number, such as 300k", "list", "--max-params", "5x") == ""
    assert refused(2, "--best -3M: expected a positive number", "list", "--best", "-3M") == ""
    assert refused(2, "--best 10M and --max-params limit the same", "list", "--best", "10M", "--max-params", "5M") == ""
    assert refused(2, "leave out --sort", "list", "--best", "10M", "--sort", "name") == ""
    assert refused(2, "No weights with a known accuracy meet all conditions", "list", "--best", "10k") == ""
    assert (
        refused(2, "No preset meets all conditions: 'deit*', --family clip", "list", "deit*", "--family", "clip") == ""
    )
    assert refused(2, "--family 'clipp' is unknown (did you mean 'clip'?)", "list", "--family", "clipp") == ""


def test_csv_has_a_row_per_weights_that_meet_the_conditions(run, refused):
    def read(*arguments):
        code, out, err = run("list", *arguments, "--csv")
        assert (code, err) == (0, "")
        return list(csv.DictReader(io.StringIO(out)))

    rows = read()
    with_weights, tags = [row for row in rows if row["tag"]], list_weights()
    assert sorted(f"{row['preset']}:{row['tag']}" for row in with_weights) == sorted(tags)
    assert {row["preset"] for row in rows} == set(list_presets())
    assert len(rows) == len(tags) + sum(not preset_info(name)["weights"] for name in list_presets())
    found = next(row for row in rows if (row["preset"], row["tag"]) == ("deit_tiny_patch16_224", "fb_in1k"))
    info = preset_info("deit_tiny_patch16_224")
    assert (int(found["params"]), float(found["gmacs"])) == (info["params"], info["gmacs"])
    assert [found[name] for name in ("height", "width", "patch_size", "num_classes")] == ["224", "224", "16", "1000"]
    assert (float(found["top1"]), found["url"]) == tuple(info["weights"]["fb_in1k"][name] for name in ("top1", "url"))
    assert {row["license"] for row in read("--license", "MIT")} == {"MIT"}
    best = read("--best", "10M")
    expected = list_weights(max_params=10e6, min_top1=0, sort_by="top1")[: len(best)]
    assert [f"{row['preset']}:{row['tag']}" for row in best] == expected
    assert refused(2, "--csv and --json", "list", "--csv", "--json") == ""
