import socket

import pytest

from vit_keras.serving.access import Access
from vit_keras.serving.request_error import RequestError


def statuses(access, *hosts):
    found = []
    for host in hosts:
        try:
            access.check({"Host": host})
            found.append(200)
        except RequestError as error:
            found.append(error.status)
    return found


def test_on_loopback_the_port_is_part_of_the_name_and_80_is_left_out():
    assert statuses(Access("127.0.0.1", 8000, None), "localhost:8000", "localhost", "localhost:80") == [200, 403, 403]
    assert statuses(Access("127.0.0.1", 80, None), "localhost:8000", "localhost", "localhost:80") == [403, 200, 200]
    assert statuses(Access("127.0.0.2", 8000, None), "127.0.0.2:8000", "127.0.0.3:8000") == [200, 403]


def test_over_the_network_the_machine_s_own_names_are_known(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Lab-7")
    monkeypatch.setattr(socket, "getfqdn", lambda: "lab-7.example.org")
    access = Access("0.0.0.0", 8000, None)
    own = ("lab-7:8000", "LAB-7", "lab-7.example.org:443", "localhost:9", "192.168.1.7", "[fe80::1]:8000")
    assert statuses(access, *own) == [200] * len(own)
    assert statuses(access, "lab-8:8000", "example.org", "lab-7.example.org.evil.net") == [403] * 3


@pytest.mark.parametrize(("host", "start"), [("::1", "http://[::1]:8000/"), ("lab-7", "http://lab-7:8000/")])
def test_the_address_is_one_to_open(host, start):
    assert Access(host, 8000, None).url == start


def test_an_address_that_listens_on_all_is_shown_as_one_that_others_reach(monkeypatch):
    assert "0.0.0.0" not in Access("0.0.0.0", 8000, None).url

    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-7")
    assert Access("::", 8000, None).url == "http://lab-7:8000/"
