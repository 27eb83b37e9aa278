"""Verifies a webhook delivery: `verify.py SECRET SIGNATURE < body` exits with 0 if it is genuine, with 1 if it is not."""

import sys

# ---- the code for a receiver

import hashlib
import hmac


def verify(body: bytes, signature: str, secret: str) -> bool:
    expected = b"v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
    return any(hmac.compare_digest(expected, part.strip().encode()) for part in signature.split(","))


# ---- a command that runs it

if __name__ == "__main__":
    secret, signature = sys.argv[1:]
    sys.exit(0 if verify(sys.stdin.buffer.read(), signature, secret) else 1)
