"""Customer ids become keyed hashes (HMAC-SHA256), so that no id ever enters the lake.

The key stands in the environment (ALMANAC_CUSTOMER_KEY) or in `customer.key` of the home, made on first use and readable
by its owner only. Whoever loses it can still read the lake, but new orders of known customers look like new customers.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.errors import SettingsError

KEY_VARIABLE = "ALMANAC_CUSTOMER_KEY"
KEY_FILE = "customer.key"
KEY_DIGITS = 32
"""Hex digits kept of the hash: 128 bits, enough for any number of customers."""

_BLOCK = 64  # of SHA-256, in bytes (RFC 2104)


@dataclass(frozen=True)
class CustomerKey:
    """The key of a home.

    Attributes:
        secret: its bytes.
        keep_in: file that it must be kept in once hashes of it are in the lake; None when it is kept already.
    """

    secret: bytes
    keep_in: Path | None = None

    def keep(self) -> None:
        """Write a key that is new to its file, readable by the owner only."""
        if self.keep_in is None:
            return
        descriptor = os.open(self.keep_in, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.secret + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make the macro `customer_hash(customer)` on a connection.

        HMAC in SQL, on distinct ids only: a Python call for each of a million customers would hold them all in memory.
        """
        key = hashlib.sha256(self.secret).digest() if len(self.secret) > _BLOCK else self.secret
        key = key.ljust(_BLOCK, b"\0")
        con.execute("SET VARIABLE inner_pad = $1::BLOB", [bytes(byte ^ 0x36 for byte in key)])
        con.execute("SET VARIABLE outer_pad = $1::BLOB", [bytes(byte ^ 0x5C for byte in key)])
        con.execute(
            "CREATE TEMP MACRO customer_hash(customer) AS left(sha256(getvariable('outer_pad') || "
            f"unhex(sha256(getvariable('inner_pad') || encode(customer)))), {KEY_DIGITS})"
        )


def customer_key(home: Path) -> CustomerKey:
    """The key of a home: from the environment, its file, or a new one that is not kept yet.

    Raises:
        SettingsError: the file is empty, or others may read it.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return CustomerKey(given.encode("utf-8"))
    path = home / KEY_FILE
    if not path.exists():
        return CustomerKey(secrets.token_hex(32).encode("ascii"), keep_in=path)
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path}: others may read the key that hides customers; run `chmod 600 {path}`")
    secret = path.read_bytes().strip()
    if not secret:
        raise SettingsError(
            f"{path}: the key is empty; restore it from a backup, or set {KEY_VARIABLE}. With another key, customers "
            "who are known already look like new ones"
        )
    return CustomerKey(secret)
