"""The names of the tasks; imports nothing."""

from typing import Literal, get_args

Task = Literal["single_label", "multi_label", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)
"""One class per image, labels `(images,)` int32; any number of classes, `(images, classes)` uint8 0 or 1; numbers, `(images, targets)` float32."""
