"""The measurements behind the figures, one command each. Not part of the installed service.

Loaded before torch is, so that idle OpenMP threads do not spin while another thread works, as in the service
(app.embedded): torch reads the policy once.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
