"""Ovara's settings, with the probe's addresses beside Ovara's own."""

from ovara.settings import *  # noqa: F403 - settings are names

ROOT_URLCONF = "tests.manager.probe.urls"
