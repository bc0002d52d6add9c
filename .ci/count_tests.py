"""Check pytest's JUnit files: fail if tests are too few or skipped. Print the closing line."""

import argparse
import sys
import xml.etree.ElementTree as ElementTree


def count(path: str) -> tuple[int, int, list[str]]:
    """Return the number of passed tests, the number of failed tests, and the names of skipped tests."""
    passed, failed, skipped = 0, 0, []
    for case in ElementTree.parse(path).iter("testcase"):
        outcomes = {child.tag for child in case}
        if "skipped" in outcomes:
            skipped.append(f"{case.get('classname')}::{case.get('name')}")
        elif outcomes & {"failure", "error"}:
            failed += 1
        else:
            passed += 1
    return passed, failed, skipped


def main() -> int:
    """Count tests, report faults, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--least", type=int, default=1, help="tests that must have passed")
    options = parser.parse_args()
    counts = [count(path) for path in options.files]
    passed, failed = sum(c[0] for c in counts), sum(c[1] for c in counts)
    skipped = [name for c in counts for name in c[2]]
    for name in skipped:
        print(f"skipped, though every part is here: {name}")
    if passed < options.least:
        print(f"only {passed} tests passed, at least {options.least} must exist")
    print(f"{passed} passed, {failed} failed, {len(skipped)} skipped")
    return int(failed > 0 or bool(skipped) or passed < options.least)


if __name__ == "__main__":
    sys.exit(main())
