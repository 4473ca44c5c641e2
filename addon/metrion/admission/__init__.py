"""Decides on requests: a routed one in; whom it belongs to and the head that may go out, or a refusal.

Credentials are read from fixed places, a Metrion token identifies the caller, and the key that goes out is either the
stored one, put in the provider's own place, or the one that the client sent along, untouched. All else goes out as it
came in, byte for byte, without Metrion's own fields; no Metrion token leaves, wherever it is. In what may be shown,
every credential is masked.

Any exception here must refuse the request: whoever calls :func:`admit` treats it as a refusal 500, never as a pass.
Nothing here keeps anything from one request to the next but what is quicker to remember than to find again: a route,
and by what a repeated key is recognised.
"""

from metrion.admission.access_snapshot import AccessSnapshot, Token, token_digest
from metrion.admission.authentication import admit, admit_tunnel, identified, token_of
from metrion.admission.labels import labels, sends_label_not_allowed
from metrion.admission.masking import mask, shown, unmasked
from metrion.admission.outgoing_head import trailers_out
from metrion.admission.tunnels import BlindTunnel, admit_blind

__all__ = [
    "AccessSnapshot",
    "BlindTunnel",
    "Token",
    "admit",
    "admit_blind",
    "admit_tunnel",
    "identified",
    "labels",
    "mask",
    "sends_label_not_allowed",
    "shown",
    "token_digest",
    "token_of",
    "trailers_out",
    "unmasked",
]
