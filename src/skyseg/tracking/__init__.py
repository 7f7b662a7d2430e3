"""Runs and models in MLflow. Only this package and the served model import MLflow."""

import os

# MLflow reads these while it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# A proxy cannot reach the servers on this machine: MLflow's, and the web page's own. Programs read
# one of the two names, most of them the small one first.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
for _name in ("no_proxy", "NO_PROXY"):
    _own = os.environ.get(_name) or os.environ.get(_name.swapcase()) or ""
    _listed = [_host.strip() for _host in _own.split(",") if _host.strip()]
    if "*" not in _listed:
        os.environ[_name] = ",".join(
            (*_listed, *(_host for _host in LOOPBACK if _host not in _listed))
        )
