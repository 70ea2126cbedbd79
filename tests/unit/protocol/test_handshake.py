"""The two sides prove a token to each other; nothing changed, repeated or sent back is a proof."""

from __future__ import annotations

import msgspec
import pytest

from fastqueue.control_plane.admission import Admission, Admitted
from fastqueue.errors import ProtocolError
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.handshake import Handshake, HandshakeRefused, peer_proof

TOKEN = "a-token-that-nobody-guesses"
OTHER = "another-token-that-nobody-guesses"
WELCOME = greetings.Welcome(
    protocol=1, control_plane_id="id", epoch=3, frame_bytes_max=99, payload_bytes_max=9
)


def peer(token: str | None = TOKEN, role: str = "client") -> Handshake:
    return Handshake(role=role, instance="i", name="n", token=token)


def challenged(admission: Admission, handshake: Handshake) -> greetings.Challenge:
    answer = admission.take(handshake.hello)
    assert isinstance(answer, greetings.Challenge)
    return answer


def proof_for(handshake: Handshake, challenge: greetings.Challenge) -> bytes:
    proof = handshake.on_greeting(msg.encode(challenge))
    assert isinstance(proof, bytes)
    return proof


def welcomed(admitted: Admitted, **changes: object) -> bytes:
    proven = msgspec.structs.replace(WELCOME, proof=admitted.prove(WELCOME))
    return msg.encode(msgspec.structs.replace(proven, **changes))


def admitted_with(
    tokens: dict[str, str], token: str, role: str = "client"
) -> greetings.Refusal | Admitted:
    admission, handshake = Admission(tokens), peer(token, role)
    answer = admission.take(proof_for(handshake, challenged(admission, handshake)))
    assert not isinstance(answer, greetings.Challenge)
    return answer


def test_two_sides_with_one_token_believe_each_other() -> None:
    admission, handshake = Admission({"token": TOKEN}), peer()
    proof = proof_for(handshake, challenged(admission, handshake))
    admitted = admission.take(proof)
    assert isinstance(admitted, Admitted)
    assert isinstance(handshake.on_greeting(welcomed(admitted)), greetings.Welcome)
    assert TOKEN.encode() not in handshake.hello + proof + welcomed(admitted)


def test_without_tokens_a_hello_is_enough() -> None:
    handshake = peer(None)
    admitted = Admission({}).take(handshake.hello)
    assert isinstance(admitted, Admitted)
    assert isinstance(handshake.on_greeting(welcomed(admitted)), greetings.Welcome)


def test_a_peer_without_a_token_says_that_one_is_wanted() -> None:
    handshake = peer(None)
    with pytest.raises(HandshakeRefused, match="FASTQUEUE_TOKEN"):
        handshake.on_greeting(msg.encode(challenged(Admission({"token": TOKEN}), handshake)))


def test_a_peer_with_a_token_refuses_a_control_plane_that_does_not_ask_for_it() -> None:
    with pytest.raises(HandshakeRefused, match="didn't ask"):
        peer().on_greeting(msg.encode(WELCOME))


@pytest.mark.parametrize(
    "change",
    [
        {"proof": b""},
        {"proof": b"x" * 32},
        {"epoch": 4},
        {"control_plane_id": "another"},
        {"frame_bytes_max": 2**40},
        {"payload_bytes_max": 2**40},
    ],
)
def test_a_peer_refuses_a_welcome_that_is_not_proven_or_was_changed(change) -> None:
    admission, handshake = Admission({"token": TOKEN}), peer()
    admitted = admission.take(proof_for(handshake, challenged(admission, handshake)))
    assert isinstance(admitted, Admitted)
    with pytest.raises(HandshakeRefused, match="couldn't prove"):
        handshake.on_greeting(welcomed(admitted, **change))


def test_a_peer_does_not_take_its_own_proof_for_the_control_planes() -> None:
    handshake = peer()
    proof = proof_for(handshake, challenged(Admission({"token": TOKEN}), handshake))
    mac = greetings.decode_proof(proof).mac
    with pytest.raises(HandshakeRefused, match="couldn't prove"):
        handshake.on_greeting(msg.encode(msgspec.structs.replace(WELCOME, proof=mac)))


def test_a_peer_proves_itself_once_a_connection() -> None:
    handshake = peer()
    challenge = challenged(Admission({"token": TOKEN}), handshake)
    proof_for(handshake, challenge)
    with pytest.raises(ProtocolError, match="twice"):
        handshake.on_greeting(msg.encode(challenge))


def test_every_hello_and_every_challenge_has_a_nonce_of_its_own() -> None:
    assert len({peer().hello for _ in range(50)}) == 50
    admissions = [Admission({"token": TOKEN}) for _ in range(50)]
    assert len({challenged(admission, peer()).nonce for admission in admissions}) == 50


def test_a_proof_that_is_repeated_on_another_connection_is_refused() -> None:
    handshake = peer()
    admission = Admission({"token": TOKEN})
    proof = proof_for(handshake, challenged(admission, handshake))
    assert isinstance(admission.take(proof), Admitted)
    another = Admission({"token": TOKEN})
    challenged(another, handshake)
    refusal = another.take(proof)
    assert isinstance(refusal, greetings.Refusal)
    assert refusal.code == "token"


def test_a_hello_with_any_bit_flipped_admits_nobody() -> None:
    for bit in range(8 * len(peer().hello)):
        handshake = peer()
        flipped = bytearray(handshake.hello)
        flipped[bit // 8] ^= 1 << bit % 8
        admission = Admission({"token": TOKEN})
        try:
            answer = admission.take(bytes(flipped))
        except ProtocolError:
            continue
        if isinstance(answer, greetings.Challenge):
            answer = admission.take(proof_for(handshake, answer))
        assert isinstance(answer, greetings.Refusal), f"bit {bit}"


def test_a_proof_with_any_bit_flipped_admits_nobody() -> None:
    for bit in range(256):
        admission, handshake = Admission({"token": TOKEN}), peer()
        mac = bytearray(peer_proof(TOKEN, handshake.hello, challenged(admission, handshake).nonce))
        mac[bit // 8] ^= 1 << bit % 8
        assert isinstance(
            admission.take(msg.encode(greetings.Proof(mac=bytes(mac)))), greetings.Refusal
        )


def test_anything_but_a_proof_after_the_challenge_is_an_error() -> None:
    admission, handshake = Admission({"token": TOKEN}), peer()
    challenged(admission, handshake)
    with pytest.raises(ProtocolError, match="asked for a proof"):
        admission.take(handshake.hello)


def test_nothing_is_taken_after_a_refusal() -> None:
    admission, handshake = Admission({"token": TOKEN}), peer(OTHER)
    proof = proof_for(handshake, challenged(admission, handshake))
    assert isinstance(admission.take(proof), greetings.Refusal)
    with pytest.raises(ProtocolError, match="wasn't admitted"):
        admission.take(proof)


def test_a_hello_without_a_nonce_is_refused_where_tokens_are_set() -> None:
    hello = msg.encode(greetings.Hello(protocol=1, role="client", instance="i"))
    assert isinstance(Admission({"token": TOKEN}).take(hello), greetings.Refusal)
    assert isinstance(Admission({}).take(hello), Admitted)


TOKENS = {
    name: f"this-is-the-secret-of-{name}"
    for name in ("token", "token_submit", "token_worker", "token_admin")
}


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("token", {"client", "subworker"}),
        ("token_submit", {"client"}),
        ("token_worker", {"subworker"}),
        ("token_admin", {"client", "subworker"}),
    ],
)
def test_a_token_is_good_for_the_roles_it_is_made_for(name, roles) -> None:
    for role in ("client", "subworker"):
        answer = admitted_with(TOKENS, TOKENS[name], role)
        if role in roles:
            assert isinstance(answer, Admitted)
            assert answer.may_inspect == (name != "token_submit")
        else:
            assert isinstance(answer, greetings.Refusal)
            assert answer.code == "role"
            assert name in answer.message
            assert TOKENS[name] not in answer.message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my program.py", "my program.py"),
        ("x" * 3_000, "x" * 200),
        ("a\nb\x1b", "a\\nb\\x1b"),
        ("\udcff.py", "\\udcff.py"),
    ],
)
def test_a_peer_of_any_name_has_a_hello_that_is_taken(name: str, said: str) -> None:
    handshake = Handshake(role="client", instance="i", name=name, token=None)
    assert greetings.decode_hello(handshake.hello).name == said
