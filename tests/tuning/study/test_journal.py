import pytest

from vit_keras.errors import CorruptFileError, ResumeError, StorageError
from vit_keras.tuning.study.journal import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def test_records_come_back_in_order_with_their_time(path):
    journal = Journal(path)
    journal.append("proposed", trial=0)
    journal.append("started", trial=0)
    again = Journal(path)
    assert [record["what"] for record in again.records] == ["proposed", "started"]
    assert again.seconds >= again.records[-1]["at"]  # interruptions do not count


def test_a_torn_last_line_is_cut_off_when_the_next_is_written(path):
    Journal(path).append("proposed", trial=0)
    with path.open("ab") as file:
        file.write(b'{"what": "start')
    journal = Journal(path)
    assert [record["what"] for record in journal.records] == ["proposed"]
    assert path.read_bytes().endswith(b'{"what": "start')  # reading changes nothing
    journal.append("waiting", trial=0)
    assert [record["what"] for record in Journal(path).records] == ["proposed", "waiting"]


@pytest.mark.parametrize("line", [b"no JSON\n", b"[1, 2]\n", b'{"trial": 3}\n'])
def test_a_damaged_line_is_named(path, line):
    path.write_bytes(b'{"what": "proposed", "trial": 0}\n' + line)
    with pytest.raises(CorruptFileError, match=r"journal\.jsonl, line 2"):
        Journal(path)


def test_another_fingerprint_or_journal_is_refused_with_the_difference(path, tmp_path):
    Journal(path).check_fingerprint({"space": "a", "data": "b"})
    Journal(path).check_fingerprint({"space": "a", "data": "b"})
    with pytest.raises(ResumeError, match='data: "b" then, "c" now'):
        Journal(path).check_fingerprint({"space": "a", "data": "c"})
    Journal(tmp_path / "other.jsonl").append("waiting", trial=0)
    with pytest.raises(CorruptFileError, match="not the journal of a search"):
        Journal(tmp_path / "other.jsonl").check_fingerprint({})


def test_what_can_t_be_written_is_refused(path, tmp_path):
    with pytest.raises(StorageError, match="could not be written"):
        Journal(tmp_path / "missing" / "journal.jsonl").append("waiting", trial=0)
    with pytest.raises(ValueError, match="JSON"):
        Journal(path).append("epoch", metrics={"loss": float("nan")})
    assert not path.exists()


def test_an_earlier_name_of_a_method_is_read_as_todays(path):
    space = {"method": {"kind": "choice", "values": ["finetune", "adapters"]}}
    Journal(path).check_fingerprint({"space": space})
    Journal(path).append("proposed", trial=0, values={"method": "adapters"})
    journal = Journal(path)
    assert journal.records[1]["values"] == {"method": "lora"}
    journal.check_fingerprint({"space": {"method": {"kind": "choice", "values": ["finetune", "lora"]}}})


def test_of_two_decisions_on_the_same_records_the_first_counts(path):
    first, second = Journal(path), Journal(path)
    assert first.commit([{"what": "proposed", "trial": 0}, {"what": "started", "trial": 0}])
    assert not second.commit([{"what": "proposed", "trial": 0}])
    assert [record["what"] for record in second.records] == ["proposed", "started"]
    assert path.read_bytes().count(b"\n") == 2  # it stays in the file
    assert second.commit([{"what": "epoch", "trial": 0}])
    first.append("waiting", trial=0)
    for journal in (first, Journal(path)):
        assert [record["what"] for record in journal.records] == ["proposed", "started", "epoch", "waiting"]


def test_records_that_belong_together_are_lost_together(path):
    Journal(path).append("study")
    Journal(path).commit([{"what": "proposed", "trial": 0}, {"what": "started", "trial": 0}])
    content = path.read_bytes()
    for size in range(content.index(b"\n") + 1, len(content), 9):
        path.write_bytes(content[:size])
        assert [record["what"] for record in Journal(path).records] == ["study"]
        Journal(path).append("waiting", trial=0)
        assert [record["what"] for record in Journal(path).records] == ["study", "waiting"]


def test_a_journal_that_another_process_replaced_or_removed_is_noticed(path):
    journal = Journal(path)
    journal.append("proposed", trial=0)
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="shorter than it was"):
        journal.read()
    path.unlink()
    for call in (journal.read, lambda: journal.commit([{"what": "waiting", "trial": 0}])):
        with pytest.raises(StorageError):
            call()
    assert not path.exists()
