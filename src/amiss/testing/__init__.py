"""Common checks that every detector passes; public, so that others can check their own.

import amiss.testing

class_under_test = amiss.ADACL
for check in amiss.testing.checks():
    check(class_under_test)
"""

from .common import checks, fitted, task

__all__ = ["checks", "fitted", "task"]
