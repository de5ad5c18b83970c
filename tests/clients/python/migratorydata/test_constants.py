"""The constants: a value is its name, and both clients have them all."""

from headrace import migratorydata
from headrace.migratorydata import client
from headrace.migratorydata.constants import Constants, MessageType, QoS


def test_values_are_names() -> None:
    names = [name for name in vars(Constants) if name.isupper()]
    assert len(names) == 23
    for name in names:
        for place in (Constants, client.MigratoryDataClient, migratorydata.MigratoryDataClient):
            assert getattr(place, name) == name


def test_the_numbers_are_the_contracts() -> None:
    assert (QoS.STANDARD, QoS.GUARANTEED) == (0, 1)
    assert [kind.name for kind in MessageType] == ["SNAPSHOT", "UPDATE", "RECOVERED", "HISTORICAL"]
    assert MessageType.SNAPSHOT == 1
    assert migratorydata.NOTIFY_PUBLISH_NO_SUBSCRIBER == "NOTIFY_PUBLISH_NO_SUBSCRIBER"
