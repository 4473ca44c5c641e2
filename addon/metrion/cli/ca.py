"""``metrion ca``: the authority that programs behind ``HTTPS_PROXY`` have to trust, and how not to need it."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path

import click

from metrion.cli.options import settings_option
from metrion.errors import ServeError
from metrion.settings import Settings

_WORDS = """\
The certificate authority of this home: {path}
SHA-256 {fingerprint}

Programs whose base URL can be set do not need it: they call the proxy itself. Prefer that.
`metrion run -- COMMAND` sets the base URLs for one command.

Programs that reach providers through HTTPS_PROXY need it. For one command, with all that it
trusts anyway: `metrion run --intercept -- COMMAND`. By hand, for one program alone:

  export HTTPS_PROXY=http://$METRION_TOKEN@127.0.0.1:{port}
  export NODE_EXTRA_CA_CERTS={path}

for Node.js; curl has --cacert. Python and others read one file of all authorities:

  cat "$(python -m certifi)" {path} > all.pem
  export SSL_CERT_FILE=$PWD/all.pem REQUESTS_CA_BUNDLE=$PWD/all.pem

Whoever has its key, beside it in this home, can listen in on what trusts it. Let neither a
browser nor the whole system trust it."""


@click.command()
@click.option("--pem", is_flag=True, help="Print the certificate itself, and nothing else.")
@settings_option
def ca(settings: Settings, pem: bool) -> None:
    """Show the authority that HTTPS_PROXY needs, and how to trust it, or not to need to.

    It is made where there is none.

    \b
    Examples:
      metrion ca
      metrion ca --pem > metrion-ca.pem
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.running.certificates import AUTHORITY, start_making_authority

    path = settings.home / AUTHORITY
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (making := start_making_authority(settings.home)) is not None:
        making.wait()
    text = _text(path)
    if pem:
        click.echo(text, nl=False)
        return
    digest = sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest().upper()
    fingerprint = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    click.echo(_WORDS.format(path=path, fingerprint=fingerprint, port=settings.listen_port))


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(
            f"{path}: is no certificate that can be read ({error}). Remove {path.parent} to have another made; whoever "
            "trusts the old one has to trust the new one then."
        ) from error
