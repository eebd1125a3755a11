"""Who types a command, as the audit log tells it: the operator, by the account and the machine."""

import os
import pwd
import socket

from everloom import __version__
from everloom.objects.audit import Origin


def operator_origin() -> Origin:
    """Where what this process does comes from. The account is the system's word; the environment could say another."""
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # A container's number without a name.
        account = str(os.getuid())
    return Origin(user_agent=f"everloom/{__version__} ({account}@{socket.gethostname()})")
