"""The Open Inference Protocol over gRPC, with the health service and reflection.

The application imports the rest of this package only where a port for gRPC is set: gRPC takes time to
import, and needs an extra.
"""

from __future__ import annotations

from importlib.util import find_spec

from service.settings import Settings

PACKAGES = ("grpc", "grpc_health", "grpc_reflection", "google.rpc")


class CannotServe(Exception):
    """gRPC is set, but not installed, or its port cannot be used."""


def check(settings: Settings) -> None:
    """Checks what the settings say of gRPC.

    Raises:
        CannotServe: The extra is missing, or several workers would each choose a port.
    """
    if settings.grpc_port is None:
        return
    if settings.grpc_port == 0 and settings.workers > 1:
        raise CannotServe(
            f"{settings.workers} workers need one port for gRPC: set --grpc-port to another than 0"
        )
    try:
        if all(find_spec(name) for name in PACKAGES):
            return
    except ModuleNotFoundError:  # of a package above it
        pass
    raise CannotServe("--grpc-port needs the extra grpc: pip install 'anyview[grpc]'")
