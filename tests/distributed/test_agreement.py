"""Values that must be the same in all processes; several processes run in `test_training.py`."""

import pytest

from vit_keras.distributed import agreement
from vit_keras.errors import ClusterError

pytestmark = pytest.mark.any_backend


def test_the_value_and_the_process_that_differ_are_named(monkeypatch):
    values = [{"options": {"epochs": 3}, "resume": False}, {"options": {"epochs": 4}, "resume": False}]
    monkeypatch.setattr(agreement, "process_count", lambda: 2)
    monkeypatch.setattr(
        agreement, "gather", lambda own: [{"host": f"node-{n}", "values": v} for n, v in enumerate(values)]
    )
    with pytest.raises(ClusterError, match=r"differ in options.epochs \(3 in process 0, 4 in process 1 on node-1\)"):
        agreement.check_agreement(values[0])
    values[1] = values[0]
    agreement.check_agreement(values[0])
