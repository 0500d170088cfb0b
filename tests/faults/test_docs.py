"""docs/faults.md is the table of the faults that are tested, no less and no more."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults import test_damaged, test_killed, test_machine

TESTS = Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs" / "faults.md").read_text()


def names_of_tests(*paths: Path) -> set[str]:
    return {
        name for path in paths for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }


def test_every_fault_is_in_the_document():
    faults = (
        *(test_killed.SPLIT, test_killed.EMBED, test_killed.COLLECT, test_killed.CONVERT),
        *(test_killed.RESIDUES, test_killed.COLLECT_RESIDUES),
        *(test_killed.SIGNALS, test_damaged.WRONG_FILES, test_damaged.CHANGED_CHUNKS),
        *(test_damaged.CHANGED_RECORDS, test_machine.ODD_NAMES),
    )
    assert [name for table in faults for name in table if name not in DOCUMENT] == []


def test_every_test_is_in_the_document_and_every_test_in_it_exists():
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    own = Path(__file__)
    here = names_of_tests(*(path for path in own.parent.glob("test_*.py") if path != own))
    here |= names_of_tests(TESTS / "pipeline" / "test_faults.py")
    assert here - named == set()
    assert named - names_of_tests(*TESTS.rglob("test_*.py")) == set()
