import pytest

from vit_keras.cli.options import parse_fields
from vit_keras.errors import InvalidArgumentError


@pytest.mark.parametrize("assignment", ["learning_rate", "=3"])
def test_an_assignment_needs_a_name_and_an_equals_sign(assignment):
    with pytest.raises(InvalidArgumentError, match=f"--set {assignment}: expected FIELD=VALUE"):
        parse_fields([assignment])
