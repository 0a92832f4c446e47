"""Tools for testing workflows: an asyncio loop on which an hour of waiting takes no time."""

from kairos_async.testing.virtual_clock import VirtualClockLoop as VirtualClockLoop

__all__ = ["VirtualClockLoop"]
