"""The exception of MigratoryData's API, with its codes (contracts/migratorydata 1.5)."""


class MigratoryDataException(Exception):
    """A call that could not be carried out. `code` says why, `detail` says it in a sentence."""

    E_INVALID_SUBJECT = 1
    E_TRANSPORT_INIT_FAILED = 2
    E_CONNECTION_FAILED = 3
    E_MSG_NULL = 4
    E_MSG_INVALID = 5
    E_MSG_FIELD_INVALID = 6
    E_CLUSTER_MEMBERS_CONNECTION_FAILED = 7
    E_INVALID_URL_LIST = 8
    E_INVALID_URL = 9
    E_INVALID_PROTOCOL = 10
    E_ENTITLEMENT_TOKEN = 11
    E_RUNNING = 12
    E_NOT_CONNECTED = 13
    E_CONNECTION_DENY = 14

    def __init__(self, code: int, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(detail)

    def get_code(self) -> int:
        return self.code

    def get_detail(self) -> str:
        return self.detail

    getCode = get_code  # noqa: N815 - the API's own name
    getDetail = get_detail  # noqa: N815
