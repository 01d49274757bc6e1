"""The only place that touches disks: walk, hash, copy, write whole, move, lock, and delete by list."""

from exlab_orch.files.whole import discard_unfinished, write_once, write_whole

__all__ = ["discard_unfinished", "write_once", "write_whole"]
