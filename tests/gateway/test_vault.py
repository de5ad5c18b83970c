"""The vault: what opens, what does not, and the change of its key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.options import Secret
from gateway.vault import MAX_TEXT_CHARS, Vault

OLD, NEW, OTHER = (Secret(f"a secret key for tests, number {n}") for n in range(3))


@given(st.text(max_size=200), st.text(max_size=40))
def test_what_was_sealed_opens_for_its_purpose(text: str, purpose: str) -> None:
    try:
        text.encode(), purpose.encode()
    except UnicodeEncodeError:
        return
    sealed = Vault(NEW).seal(text, purpose=purpose)
    assert Vault(NEW).open(sealed, purpose=purpose) == text
    assert Vault(NEW).open(sealed, purpose=purpose + "x") is None
    assert Vault(OTHER).open(sealed, purpose=purpose) is None


def test_nothing_of_the_text_shows_and_no_two_are_alike() -> None:
    vault = Vault(NEW)
    first, second = (vault.seal("0123456789abcdef", purpose="p") for _ in range(2))
    assert first != second
    assert "0123456789abcdef" not in first
    assert NEW.value not in repr(vault)


def test_a_change_anywhere_is_noticed() -> None:
    vault = Vault(NEW)
    sealed = vault.seal("token", purpose="p")
    for at in range(len(sealed)):
        forged = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        # The last characters of base64 may hold bits that mean nothing; none of them changes the text.
        assert vault.open(forged, purpose="p") in (None, "token")
        assert vault.open(forged, purpose="p") is None or at > len(sealed) - 4


@pytest.mark.parametrize("sealed", ["", "v1", "v1..", "v1.x.y", "v2.a.b", "v1.é.é", "v1.0.AAAA", "." * 9])
def test_what_was_never_sealed_does_not_open(sealed: str) -> None:
    assert Vault(NEW).open(sealed, purpose="p") is None
    assert Vault(NEW).is_stale(sealed)


def test_a_new_key_reads_what_the_old_one_sealed() -> None:
    before = Vault(OLD).seal("token", purpose="p")
    rotated = Vault(NEW, old=OLD)
    assert rotated.open(before, purpose="p") == "token"
    assert rotated.is_stale(before)
    after = rotated.seal("token", purpose="p")
    assert not rotated.is_stale(after)
    assert Vault(NEW).open(after, purpose="p") == "token"
    assert Vault(OLD).open(after, purpose="p") is None
    assert Vault(NEW).open(before, purpose="p") is None


def test_a_text_has_a_bound() -> None:
    vault = Vault(NEW)
    assert vault.open(vault.seal("x" * MAX_TEXT_CHARS, purpose="p"), purpose="p")
    with pytest.raises(ValueError, match="too long"):
        vault.seal("x" * (MAX_TEXT_CHARS + 1), purpose="p")
