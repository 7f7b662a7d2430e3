"""Runs and models in MLflow. Only this package and the served model import MLflow."""

import os

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def bypass_proxy() -> None:
    """Let this process and those that it starts reach servers on this machine, MLflow's and the web
    page's own, without the proxy of HTTP_PROXY and the like, which could not reach them.

    The user's own exceptions stay. Programs read one of the two names, most of them the small one.
    """
    own = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in own.split(",") if host.strip()]
    if "*" not in hosts:
        hosts += [host for host in LOOPBACK if host not in hosts]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


# MLflow reads these while it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
bypass_proxy()
