"""Children that may die."""

import os
import sys

WRONG = 99  # the exit code of a child that raised an error


def in_child(body):
    """What `body` returned in a forked child, an integer below 99; or minus the signal that killed the child."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(body())
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(WRONG)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
