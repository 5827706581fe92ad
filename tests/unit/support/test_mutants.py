"""The mutants of our own: one for every row of a table, each of another source."""

from __future__ import annotations

import ast
from pathlib import Path

from gatewayd.access.decide import GUARDS
from tests.mutation.rows import mutants

ROOT = Path(__file__).parents[3]
EXAMPLE = """
LIMIT: Final = 3
TABLE: Final = ((1, "a"), (2, "b"), (3, "c"))

class Thing:
    count: int = 0

    @property
    def is_many(self) -> bool:
        return self.count > LIMIT and not self.count < 0

def plain(x):
    return x > 1
"""


def test_numbers_rows_order_and_decorated_functions_are_changed_and_the_rest_is_left_to_mutmut() -> None:
    names = [mutant.name for mutant in mutants(EXAMPLE, "x.py")]
    assert {"x.py:LIMIT:3:more", "x.py:LIMIT:3:less", "x.py:Thing.count:0:more"} <= set(names)
    for number in range(3):
        assert any(name.endswith(f":drop {number}") and name.startswith("x.py:TABLE:((") for name in names)
    assert sum(":swap " in name for name in names) == 2
    assert any(name.startswith("x.py:Thing.is_many[0]:") and name.endswith(":and/or") for name in names)
    assert not any("plain" in name for name in names)


def test_every_mutant_is_a_source_of_its_own_that_python_reads() -> None:
    sources = [mutant.source for mutant in mutants(EXAMPLE, "x.py")]
    for source in sources:
        ast.parse(source)
    assert len(set(sources)) == len(sources)
    assert ast.unparse(ast.parse(EXAMPLE)) not in sources


def test_every_guard_of_the_decision_is_left_out_once_and_swapped_with_its_neighbour() -> None:
    made = [mutant.name for mutant in mutants((ROOT / "gatewayd/access/decide.py").read_text(), "decide.py")]
    table = [name for name in made if name.startswith("decide.py:GUARDS:((")]
    for number in range(len(GUARDS)):
        assert any(name.endswith(f":drop {number}") for name in table)
    assert sum(":swap " in name for name in table) == len(GUARDS) - 1
