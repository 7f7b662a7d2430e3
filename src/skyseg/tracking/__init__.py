"""Runs and models in MLflow. Only this package and the served model import MLflow."""
