"""The exception that a handler of a signal raises during a call ends the call."""

import sys
import threading

import numpy as np
import pytest

import smoothxent as sx


class Stopped(Exception):
    pass


def test_a_handler_that_runs_while_the_main_thread_is_looked_up():
    """Each poll for signals looks it up by Python code, in which a handler may run."""

    def handler(frame, event, argument):
        if frame.f_code is threading.main_thread.__code__:
            sys.setprofile(None)
            raise Stopped

    before = sys.getprofile()
    sys.setprofile(handler)
    try:
        with pytest.raises(Stopped):
            sx.logsumexp(np.broadcast_to(np.float32(0), (100000, 1000)))
    finally:
        sys.setprofile(before)
