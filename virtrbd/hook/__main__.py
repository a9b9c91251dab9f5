"""`python -m virtrbd.hook SETTINGS HOST STATE_DIR NAME OPERATION SUB EXTRA`, as libvirt's program runs it."""

import gc
import sys

from virtrbd.hook.answer import Call, answer
from virtrbd.hook.program import MOST_XML

if __name__ == "__main__":
    # As for the command line: it allocates much and drops little.
    gc.set_threshold(50_000)
    _settings, _host, _state_dir, _name, _operation, _, _extra = sys.argv[1:]
    _xml = sys.stdin.buffer.read(MOST_XML + 1).decode(errors="replace")
    _call = Call(
        settings=_settings,
        host=_host,
        state_dir=_state_dir,
        name=_name,
        operation=_operation,
        reason=_extra,
        xml=_xml,
    )
    sys.exit(answer(_call))
