"""Subjects: their syntax, and the topics that they are. Pure.

A subject is like an absolute path of two or more segments (contracts/migratorydata 1.6). `/a/b/c` is the topic
`a/b/c`; a cluster may put all subjects into one project `p`, then it is `p/a/b/c`.
"""

from headrace.migratorydata.errors import MigratoryDataException

MAX_SUBJECT_BYTES = 255
"""Of the topic that it becomes."""

MIN_SEGMENTS = 2


def check_subject(subject: object) -> str:
    """Return a subject, or raise `MigratoryDataException` with E_INVALID_SUBJECT."""
    if not isinstance(subject, str):
        raise _invalid("A subject is a string.")
    first, *segments = subject.split("/")
    if first or len(segments) < MIN_SEGMENTS or not all(segments):
        raise _invalid(f"A subject is a slash and two or more segments, such as /Stocks/IBM; {subject[:80]!r} is not.")
    try:
        size = len(subject.encode())
    except UnicodeEncodeError:
        raise _invalid("A subject is UTF-8.") from None
    if size > MAX_SUBJECT_BYTES:
        raise _invalid(f"A subject has at most {MAX_SUBJECT_BYTES} bytes.")
    return subject


def topic_of(subject: str, *, project: str = "") -> str:
    """Return the topic that a checked subject is."""
    return f"{project}{subject}" if project else subject[1:]


def subject_of(topic: str, *, project: str = "") -> str:
    """The other way round."""
    return topic.removeprefix(project) if project else f"/{topic}"


def _invalid(detail: str) -> MigratoryDataException:
    return MigratoryDataException(MigratoryDataException.E_INVALID_SUBJECT, detail)
