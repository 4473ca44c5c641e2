"""Secrets in files of their own, as containers and services are given them: ``OPENAI_API_KEY_FILE`` names one.

In: an environment. Out: the same, with each such variable replaced by the content of its file. Never: a content in an
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metrion.errors import SettingsError
from metrion.providers import PROVIDERS

SECRETS = (*(provider.environment for provider in PROVIDERS.values()), "METRION_MASTER_KEY")
"""The variables that hold a secret; with ``_FILE`` at the end, the name of a file that holds it."""
_MOST_BYTES = 65536


def with_secret_files(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment as it would be without files.

    :raises SettingsError: a file cannot be read, or a secret is given twice.
    """
    named = {name: environ[f"{name}_FILE"] for name in SECRETS if environ.get(f"{name}_FILE")}
    if twice := [name for name in named if environ.get(name)]:
        raise SettingsError(f"${twice[0]} and ${twice[0]}_FILE are both set; keep one of them")
    return (
        {**environ, **{name: _read(f"${name}_FILE", Path(path)) for name, path in named.items()}} if named else environ
    )


def _read(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode().strip()
    except OSError as error:
        raise SettingsError(f"{variable}: {path}: cannot be read: {error.strerror}; name a file that can") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}: {path}: is not text; name a file with the secret alone in it") from None
    if not text or len(content) > _MOST_BYTES:
        what = "is empty" if not text else "is too large"
        raise SettingsError(f"{variable}: {path}: {what}; name a file with the secret alone in it")
    return text
