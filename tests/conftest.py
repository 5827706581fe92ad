"""Settings that every test shares."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No test may depend on how busy the machine is. Where the variable CI is set, Hypothesis loads a profile of its own
# that says the same and also repeats the same examples in each run: chance finds bugs at a desk, not in a release.
settings.register_profile("carelock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if settings.get_current_profile_name() != "ci":
    settings.load_profile("carelock")
