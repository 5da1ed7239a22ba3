"""How simplejwt checks signatures here: with a key that is looked at once, not for every token.

PyJWT makes sure at every check that an HMAC secret is no public key of some other algorithm; that
takes longer than the signature itself, and the secret stays the same.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from jwt import PyJWK
from jwt.algorithms import HMACAlgorithm
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.settings import api_settings


class _WithGoodKey(HMACAlgorithm):
    """HMAC for a key that was found good."""

    def prepare_key(self, key: str | bytes) -> bytes:
        assert isinstance(key, bytes)
        return key


class Backend(TokenBackend):
    """simplejwt's own but for the HMAC key."""

    @cached_property
    def prepared_signing_key(self) -> Any:
        """For PyJWT: the key with the algorithm to use it with.

        Raises:
            InvalidKeyError: it is none for that algorithm.
        """
        key = self._prepare_key(self.signing_key)
        if not self.algorithm.startswith("HS"):
            return key
        prepared = PyJWK(HMACAlgorithm.to_jwk(key, as_dict=True), self.algorithm)
        algorithm = prepared.Algorithm
        assert isinstance(algorithm, HMACAlgorithm)
        prepared.Algorithm = _WithGoodKey(algorithm.hash_alg)
        return prepared


backend = Backend(
    api_settings.ALGORITHM,
    api_settings.SIGNING_KEY,
    api_settings.VERIFYING_KEY,
    api_settings.AUDIENCE,
    api_settings.ISSUER,
    api_settings.JWK_URL,
    api_settings.LEEWAY,
    api_settings.JSON_ENCODER,
)
