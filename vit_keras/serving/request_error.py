"""Why a request is not answered: the HTTP status and a sentence that says what to change."""

from collections.abc import Mapping


class RequestError(Exception):
    """A request that is not answered.

    Args:
        status: The HTTP status, 400 to 599.
        message: What is wrong, and what is expected.
        headers: Further HTTP headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})
