"""Class rows, confusions and matrices as blocks of integers."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from strategies import class_rows, confusions

from lightning_diag.history import ClassRow, ClassRows, Confusion, Confusions, Matrix, StageRecord
from lightning_diag.history.tables import Table

LARGEST = 2**63 - 1
counts = st.integers(0, LARGEST) | st.integers(0, 5)
unknown = st.builds(ClassRow, index=counts, support=counts, predicted=st.none() | counts, correct=counts)


def row(*numbers):
    return ClassRow(**dict(zip(("index", "support", "predicted", "correct"), numbers, strict=True)))


@given(st.lists(class_rows | unknown, max_size=6), st.integers(-8, 8), st.integers(-8, 8), st.sampled_from([1, 2, -1]))
def test_a_table_reads_like_the_tuple_of_its_rows(rows, start, stop, step):
    table = ClassRows.of(rows)
    assert tuple(table) == tuple(rows)
    assert (len(table), bool(table)) == (len(rows), bool(rows))
    assert [table[i] for i in range(len(rows))] == rows
    assert [table[i - len(rows)] for i in range(len(rows))] == rows
    assert table[start:stop:step] == ClassRows.of(rows[start:stop:step])
    assert all(
        type(value) in {int, type(None)} for r in table for value in (r.index, r.support, r.predicted, r.correct)
    )
    assert eval(repr(table)) == table
    with pytest.raises(IndexError):
        table[len(rows)]


@given(st.lists(class_rows | unknown, max_size=3), st.lists(class_rows | unknown, max_size=3))
def test_tables_are_equal_when_their_rows_are(one, other):
    assert (ClassRows.of(one) == ClassRows.of(other)) == (one == other)
    assert hash(ClassRows.of(one)) == hash(ClassRows.of(list(one)))
    assert ClassRows.of(one)[:1] == ClassRows.of(one[:1])


@given(st.lists(confusions, max_size=4))
def test_confusions_and_matrices_come_back(pairs):
    assert list(Confusions.of(pairs)) == pairs
    matrix = tuple((i, LARGEST - i) for i in range(2))
    assert tuple(Matrix.of(matrix)) == matrix
    assert Matrix.of(matrix)[1][0] == 1


@pytest.mark.parametrize(("largest", "size"), [(2**15 - 1, 2), (2**15, 4), (2**31 - 1, 4), (2**31, 8), (LARGEST, 8)])
def test_a_table_takes_the_narrowest_integers_that_hold_it(largest, size):
    table = ClassRows.of([row(0, largest, None, 1)] * 100)
    assert len(table.block) == 100 * 4 * size
    assert table.size == 400
    assert table[99] == row(0, largest, None, 1)


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 2**63, 1, 1),
        (0, 2**64, 1, 1),
        (0, -1, 1, 1),
        (0, 1, -1, 1),
        (-1, 1, 1, 1),
        (0, 1.5, 1, 1),
        (0, 1.0, 1, 1),
        (0, float("nan"), 1, 1),
        (0, 1, 1, np.uint64(2**63)),
    ],
)
def test_what_is_no_count_is_refused(numbers):
    with pytest.raises(ValueError, match="expected"):
        ClassRows.of([row(0, 1, 1, 1), row(*numbers)])


def test_tables_of_another_shape_are_refused():
    with pytest.raises(ValueError):
        Matrix.of([(1, 2), (3,)])
    with pytest.raises(ValueError, match="expected rows"):
        Matrix.of_numbers(np.ones(4, np.int64))
    with pytest.raises(ValueError, match="expected rows"):
        Matrix.of_numbers(np.ones((2, 2), bool))


def test_a_table_cannot_be_changed_from_inside_or_outside():
    numbers = np.array([[0, 5, 4, 3]])
    table = ClassRows.of_numbers(numbers)
    numbers[:] = 9
    assert list(table) == [row(0, 5, 4, 3)]
    for name in ("block", "code", "width", "more"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(table, name, b"")
    with pytest.raises(TypeError):
        table[0] = row(1, 1, 1, 1)
    with pytest.raises(TypeError):
        memoryview(table.block)[0] = 1
    for twin in (pickle.loads(pickle.dumps(table)), copy.copy(table), copy.deepcopy(table)):
        assert twin == table


def test_a_stage_record_takes_plain_rows_and_keeps_tables():
    rows, pairs, matrix = (row(0, 5, None, 3),), [Confusion(target=0, predicted=1, count=2)], ((1, 2), (3, 4))
    record = StageRecord(n=5, classes=rows, confusions=pairs, matrix=matrix)
    assert (record.classes, record.confusions) == (ClassRows.of(rows), Confusions.of(pairs))
    assert record.matrix == Matrix.of(matrix)
    assert StageRecord(n=5, classes=()) == StageRecord(n=5)
    with pytest.raises(ValueError, match="thinned"):
        StageRecord(n=5, thinned=-1)


def test_to_pydantic_a_table_is_the_list_of_its_rows():
    adapter = TypeAdapter(StageRecord)
    record = StageRecord(n=5, classes=(row(0, 5, None, 3),), matrix=((1, 2), (3, 4)))
    plain = adapter.dump_python(record, mode="json")
    assert plain["classes"] == [{"index": 0, "support": 5, "predicted": None, "correct": 3}]
    assert plain["matrix"] == [[1, 2], [3, 4]]
    assert adapter.validate_json(adapter.dump_json(record)) == record
    assert adapter.validate_python({"n": 5, "classes": record.classes}).classes is record.classes
    for mode in ("validation", "serialization"):
        schema = adapter.json_schema(mode=mode)
        assert schema["properties"]["classes"]["items"] == {"$ref": "#/$defs/ClassRow"}
        assert "block" not in str(schema)
    with pytest.raises(ValueError):
        adapter.validate_python({"n": 5, "classes": [{"index": 0, "support": 2**63, "predicted": 1, "correct": 1}]})


def test_the_rules_are_imported_without_numpy():
    code = (
        "import sys, lightning_diag.rules, lightning_diag.store; print('numpy' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_table_of_no_kind_of_row_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Table(0, "h", b"")
