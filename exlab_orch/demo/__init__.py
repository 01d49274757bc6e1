"""The demonstration: a made-up lab below one folder, and what its operator sees, pass by pass, by the real verbs."""

from exlab_orch.demo.story import DemoFailed, RunVerb, run_demo

__all__ = ["DemoFailed", "RunVerb", "run_demo"]
