"""Ed25519 keys in PEM files. The library that knows them is imported by the first checkpoint, not by a start."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from everloom.kit.files import sync_folder
from everloom.objects.audit import AuditHead, Checkpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class KeyFile:
    """A ``Signer`` with the private key in a PEM file (PKCS #8, not encrypted), read once.

    ``make``: where there is none, one is made, for its owner's eyes alone, and a file beside it says so until its first
    checkpoint is kept: whatever dies between is taken up by the next process, not taken for a lost witness.
    """

    def __init__(self, path: Path, *, make: bool) -> None:
        self._path = path
        self._make = make
        self._unused = path.with_name(f"{path.name}.unused")
        self._key: Ed25519PrivateKey | None = None
        self._begun = False

    def sign(self, head: AuditHead, at: int) -> Checkpoint:
        """See ``Signer.sign``."""
        key = self._private()
        checkpoint = Checkpoint(
            seq=head.seq, hash=head.hash.hex(), at=at, key=PublicKey(key.public_key()).fingerprint, signature=""
        )
        return Checkpoint(
            seq=checkpoint.seq,
            hash=checkpoint.hash,
            at=at,
            key=checkpoint.key,
            signature=key.sign(checkpoint.signed).hex(),
        )

    def has_signed(self, checkpoint: Checkpoint) -> bool:
        """See ``Signer.has_signed``."""
        return self.public().has_signed(checkpoint)

    def has_signed_before(self) -> bool | None:
        """See ``Signer.has_signed_before``."""
        return self._path.exists() and not self._unused.exists() if self._make else None

    def has_begun(self) -> None:
        """See ``Signer.has_begun``."""
        if not self._begun and self._make:
            self._unused.unlink(missing_ok=True)
        self._begun = True

    def public(self) -> "PublicKey":
        """The half that may be shown."""
        return PublicKey(self._private().public_key())

    def _private(self) -> "Ed25519PrivateKey":
        if self._key is None:
            if self._make and not self._path.exists():
                _make_key(self._path, self._unused)
            self._key = _read_private(self._path)
        return self._key


class PublicKey:
    """What tells whether a checkpoint was signed by a key. ``fingerprint``: how checkpoints name it."""

    def __init__(self, key: "Ed25519PublicKey") -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = key
        self.fingerprint = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]
        self.pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @staticmethod
    def read(path: Path) -> "PublicKey":
        """The key in a PEM file, be it the public or the private one. Errors: ``OSError``, ``ValueError``."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        text = path.read_bytes()
        if b"PRIVATE KEY" in text:
            return PublicKey(_read_private(path).public_key())
        key = load_pem_public_key(text)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{path} has no Ed25519 key")
        return PublicKey(key)

    def has_signed(self, checkpoint: Checkpoint) -> bool:
        """Whether the signature is this key's, over just what the checkpoint says."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(bytes.fromhex(checkpoint.signature), checkpoint.signed)
        except (InvalidSignature, ValueError):
            return False
        return checkpoint.key == self.fingerprint


def _read_private(path: Path) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except TypeError:
        raise ValueError(f"{path} is encrypted; a key that a server reads by itself cannot be") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} has no Ed25519 key")
    return key


def _make_key(path: Path, unused: Path) -> None:
    """Make a key, unless another process has meanwhile. The file is whole or not there; ``unused`` before it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unused.touch(mode=0o600)
    sync_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
