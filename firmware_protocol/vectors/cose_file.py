"""The COSE working group's examples: COSE_Sign1 and COSE_Sign with Ed25519.

Their headers are not the protocol's (a kid of another size, in another place), so an example is taken apart by the
strict reader, and what it must be signed over, its signature and a new signature are compared.
"""

from __future__ import annotations

from typing import Any, Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from firmware_protocol import cbor, cose
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vectors.tally import Tally

EXAMPLE_SIZE_MAX: Final = 4_096


def judge(document: dict[str, Any]) -> Tally:
    """Run the one example in the document."""
    tally, given = Tally(), document["input"]
    if "sign0" in given:
        signer = given["sign0"]
    elif "sign" in given and len(given["sign"]["signers"]) == 1:
        (signer,) = given["sign"]["signers"]
    else:
        tally.skipped["neither COSE_Sign1 nor COSE_Sign with one signer"] += 1
        return tally
    if signer["key"].get("crv") != "Ed25519":
        tally.skipped[f"key of the curve {signer['key'].get('crv')}: the protocol signs with Ed25519 only"] += 1
        return tally
    must_fail = document.get("fail", False)
    tally.judge(document["title"], is_right=_verifies(document, signer) is not must_fail)
    return tally


def _verifies(document: dict[str, Any], signer: dict[str, Any]) -> bool:
    aad = bytes.fromhex(signer.get("external", ""))
    made = document["intermediates"]
    expected = bytes.fromhex((made if "ToBeSign_hex" in made else made["signers"][0])["ToBeSign_hex"])
    try:
        parts = _covered(bytes.fromhex(document["output"]["cbor"]), aad)
        if parts is None:
            return False
        covered, signature = parts
        VerifyKey(bytes.fromhex(signer["key"]["x_hex"])).verify(covered, signature)
    except (RemoteProtocolError, BadSignatureError):
        return False
    again = SigningKey(bytes.fromhex(signer["key"]["d_hex"])).sign(covered).signature
    return covered == expected and again == signature


def _covered(data: bytes, aad: bytes) -> tuple[bytes, bytes] | None:
    """Return what the signature covers, and the signature; None where it is no object of one signer.

    Raises:
        RemoteProtocolError: not the CBOR of the protocol.
    """
    match cbor.decode(data, size_max=EXAMPLE_SIZE_MAX):
        case cbor.Tag(tag=cbor.TAG_SIGN1, value=(bytes() as protected, {}, bytes() as payload, bytes() as signature)):
            return cose.sig_structure1(protected, aad, payload), signature
        case cbor.Tag(
            tag=cbor.TAG_SIGN,
            value=(
                bytes() as body,
                {},
                bytes() as payload,
                ((bytes() as protected, {}, bytes() as signature),),
            ),
        ):
            return cose.sig_structure(body, protected, aad, payload), signature
        case _:
            return None
