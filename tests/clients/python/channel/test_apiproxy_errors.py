"""The exceptions of a call, as the SDK has them."""

import pytest

from headrace.channel import apiproxy_errors


@pytest.mark.parametrize(
    "name",
    [
        "RPCFailedError",
        "CallNotFoundError",
        "ArgumentError",
        "DeadlineExceededError",
        "OverQuotaError",
        "RequestTooLargeError",
        "ApplicationError",
    ],
)
def test_every_one_is_an_error_of_the_proxy(name: str) -> None:
    assert issubclass(getattr(apiproxy_errors, name), apiproxy_errors.Error)


def test_an_application_error_tells_code_and_detail() -> None:
    error = apiproxy_errors.ApplicationError(3, "why")

    assert (error.application_error, error.error_detail, str(error)) == (3, "why", "ApplicationError: 3 why")
    assert apiproxy_errors.ApplicationError(1).error_detail == ""
