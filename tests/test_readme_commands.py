"""What CI looks for in what the README's two commands print."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from readme_commands import ROOT, commands, result

SKIPS = [
    "SKIPPED [755] tests/on_meta.py:21: torch is not installed: pip install '.[trace]'\n",
    "SKIPPED [2] tests/test_front_end.py:31: vitest is not installed: run npm ci in js/\n",
]
PASSED = "===== 3486 passed, 757 skipped, 2 warnings in 392.44s (0:06:32) =====\n"


def test_the_commands_are_the_readmes_own() -> None:
    see, test = commands((ROOT / "README.md").read_text("utf-8"))
    assert see == "pip install '.[lab]' && jupyter lab notebooks/quickstart.ipynb"
    assert test == "pip install -e '.[test]' && pytest"


def test_skips_are_counted_by_what_is_lacking() -> None:
    passed, wanting = result([*SKIPS, PASSED])
    assert passed == 3486
    assert wanting == {"PyTorch": 755, "npm ci": 2}


@pytest.mark.parametrize(
    "printed",
    [
        [*SKIPS, PASSED.replace("3486 passed", "1 failed, 3485 passed")],
        [*SKIPS, PASSED.replace("3486 passed", "3486 passed, 1 error")],
        [*SKIPS, PASSED.replace("757", "758")],
        [*SKIPS, "SKIPPED [1] tests/a.py:1: no time today\n", PASSED.replace("757", "758")],
        [SKIPS[1], PASSED.replace("757", "2")],
    ],
    ids=["a failure", "an error", "a skip not shown", "a skip for no reason", "PyTorch is there"],
)
def test_all_else_is_wrong(printed: list[str]) -> None:
    with pytest.raises(AssertionError):
        result(printed)
