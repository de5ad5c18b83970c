"""What the creator of a shared subscription decides. Pure."""

from dataclasses import dataclass
from typing import Literal

from headrace.ams.message import Document
from headrace.ams.topic import full_name


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPolicy:
    """Competing consumers: each pull leases messages for the ack deadline, each message is acknowledged by itself."""

    max_attempts: int | None = None
    """Deliveries before a message goes to the dead letters, which must have a topic; None: no end."""
    dead_letter_topic: str | None = None
    """Topic of the same project that takes what was delivered `max_attempts` times."""
    redelivery: Literal["linear", "exponential"] = "linear"
    """How the wait before a message comes again grows, from `redelivery_min_ms` to `redelivery_max_ms`."""
    redelivery_min_ms: int = 0
    redelivery_max_ms: int | None = None
    ordering_attribute: str | None = None
    """Messages with the same value of this attribute are in one consumer's hands at a time, in order."""
    max_outstanding: int | None = None
    """Messages that are leased or wait to come again, beyond which no new one is delivered; None: the server's."""

    def document(self, project: str) -> Document:
        """Return the keys that a creation gets besides ARGO's own."""
        dead_letters = self.dead_letter_topic and full_name(project, "topics", self.dead_letter_topic)[1:]
        retry = {
            "type": self.redelivery,
            "minimumMs": self.redelivery_min_ms,
            "maximumMs": self.redelivery_min_ms if self.redelivery_max_ms is None else self.redelivery_max_ms,
        }
        known = {
            "kind": "shared",
            "maxAttempts": self.max_attempts,
            "deadLetterTopic": dead_letters,
            "retryPolicy": retry,
            "orderingAttribute": self.ordering_attribute,
            "maxOutstanding": self.max_outstanding,
        }
        return {key: value for key, value in known.items() if value is not None}
