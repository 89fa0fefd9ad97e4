import os
import re
import shutil
import signal
import socket
import sys
import threading

import keras
import numpy as np
import pytest
from serving.clients import JPEG, ask
from serving.process import serve

import vit_keras as vk
from vit_keras.models.vit import vit
from vit_keras.zoo.save_preset import save_preset


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_what_can_be_wrong_is_said_before_keras_starts(refused, tiny_preset, taken_port):
    message = (
        f"The port {taken_port} is taken: another program listens on it. Choose another with --port N, or --port 0"
    )
    refused(6, message, "serve", tiny_preset, "--port", taken_port)
    refused(2, "--port must be from 0 to 65535, got 70000", "serve", tiny_preset, "--port", 70000)
    refused(2, "--host '192.0.2.1' is no address of this machine", "serve", tiny_preset, "--host", "192.0.2.1")
    refused(2, "There is no preset 'vit_smal'", "serve", "vit_smal")
    refused(6, "there is no such file", "serve", "./nowhere")


def test_a_model_that_can_t_classify_is_refused(refused, tiny_config, tmp_path):
    backbone = save_preset(vit(tiny_config), tmp_path / "backbone")
    refused(2, "backbone: this model has no head, so it can't classify images", "serve", backbone, "--port", 0)
    refused(2, "is a preset without weights", "serve", "vit_pico_patch4_32", "--port", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_it_says_where_it_is_answers_and_ends_with_a_sentence(run, tiny_model, tiny_preset, picture, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_TOKEN", "0123456789abcdef")  # not needed here
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers = []

    def visit():
        server = type("", (), {"server_address": ("127.0.0.1", port)})
        try:
            while True:  # until it listens
                try:
                    answers.append(ask(server, "POST", "/predict?top=3", picture.read_bytes(), JPEG))
                    break
                except ConnectionRefusedError:
                    continue
            answers.append(ask(server, "POST", "/predict", b"no image", JPEG))
        finally:
            if answers:
                os.kill(os.getpid(), signal.SIGINT)

    client = threading.Thread(target=visit, daemon=True)
    client.start()
    code, out, err = run("serve", tiny_preset, "--port", port)
    client.join()
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"tiny: 3 classes; images of 16x16 px; {tiny_model.count_params():,} parameters; on {keras.backend.backend()}",
        f"open it in a browser  http://127.0.0.1:{port}/",
        "Ctrl-C ends it",
        "stopped; 1 image classified, 1 could not be read",
    ]
    (expected,) = vk.predict(tiny_preset, picture, top=3)
    assert [each["name"] for each in answers[0].json["classes"]] == list(expected.classes)
    found = [each["probability"] for each in answers[0].json["classes"]]
    np.testing.assert_allclose(found, expected.probabilities, rtol=1e-4)
    assert answers[1].status == 422


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_process_of_its_own_prints_one_line_of_json_and_ends_on_ctrl_c(tiny_preset, tmp_path, picture):
    shutil.copytree(tiny_preset, tmp_path / "pets" / "model")
    (tmp_path / "pets" / "run.json").write_text("{}")
    (tmp_path / "pets" / "report.html").write_text("<p>report</p>")
    with serve(tmp_path / "pets") as served:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", served.url)
        assert (served.line["token"], served.line["model"]) == (None, "pets")
        (expected,) = vk.predict(tiny_preset, picture)
        found = ask(served, "POST", "/predict", picture.read_bytes(), JPEG).json
        assert [each["name"] for each in found["classes"]] == list(expected.classes)
        assert ask(served, "GET", "/report").content == b"<p>report</p>"
        code, out, err = served.interrupt()
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "stopped; 1 image classified"
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_for_the_network_it_warns_and_prints_the_token(tiny_preset):
    with serve(tiny_preset, "--host", "0.0.0.0") as served:
        token = served.line["token"]
        assert served.url.endswith(f"/?token={token}")
        assert ask(served, "GET", "/model").status == 401
        assert ask(served, "GET", "/model", headers={"Authorization": f"Bearer {token}"}).status == 200
        code, _, err = served.interrupt()
    assert code == 0
    assert "--host 0.0.0.0 lets other machines in" in err
    assert "nothing is encrypted" in err
