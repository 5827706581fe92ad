"""Settings that every test shares."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# No test may depend on how busy the machine is. Where the variable CI is set, Hypothesis loads a profile of its own
# that says the same and also repeats the same examples in each run: chance finds bugs at a desk, not in a release.
settings.register_profile("carelock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if settings.get_current_profile_name() != "ci":
    settings.load_profile("carelock")

# A run in the background of a script inherits an ignored SIGINT and hands it on: Ctrl-C would stop no demo under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
