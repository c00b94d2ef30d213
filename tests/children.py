"""Children that may die."""

import os
import sys

WRONG = 99  # what a child that raised an error ends with


def in_child(body):
    """What `body` returned in a forked child, an integer below 99; minus the signal it died of."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(body())
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(WRONG)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
