"""Both spellings of a method."""

from headrace.migratorydata.naming import camel_case, with_camel_case


def test_each_public_method_gets_its_other_name() -> None:
    @with_camel_case
    class Made:
        def set_servers(self) -> int:
            return 1

        def connect(self) -> int:
            return 2

        def _not_this_one(self) -> None: ...

    made = Made()
    assert made.setServers() == made.set_servers() == 1  # type: ignore[attr-defined]
    assert not hasattr(made, "NotThisOne")
    assert camel_case("subscribe_with_history") == "subscribeWithHistory"
