import headrace
from headrace import errors


def test_a_code_of_the_protocol_becomes_its_class() -> None:
    error = errors.error_of("unavailable", "no log", retry_ms=5)
    assert isinstance(error, errors.Unavailable)
    assert isinstance(error, errors.ServerError)
    assert (error.code, str(error), error.retry_ms) == ("unavailable", "no log", 5)


def test_an_unknown_code_is_kept() -> None:
    error = errors.error_of("teapot", "short and stout")
    assert type(error) is errors.HeadraceError
    assert error.code == "teapot"
    assert errors.HeadraceError.code == "error"


def test_a_server_cannot_raise_what_is_the_clients_to_say() -> None:
    assert not isinstance(errors.error_of("client_closed", ""), errors.ClientError)


def test_every_error_is_exported() -> None:
    def below(root: type[errors.HeadraceError]) -> set[type[errors.HeadraceError]]:
        return {root}.union(*(below(child) for child in root.__subclasses__()))

    names = {error.__name__ for error in below(errors.HeadraceError)}
    assert names <= set(headrace.__all__)


def test_codes_are_unique() -> None:
    assert len(errors._BY_CODE) == len({error.code for error in errors._BY_CODE.values()})
    assert {"unavailable", "forbidden", "key_conflict", "stale_sequence"} <= errors._BY_CODE.keys()
