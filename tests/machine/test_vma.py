from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unikiln.machine.vma import Vma, VmaMap

RANGE = st.tuples(st.integers(0, 63), st.integers(1, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(st.tuples(st.booleans(), RANGE), max_size=30), st.integers(1, 10))
def test_areas_behave_like_a_list_of_pages(steps: list[tuple[bool, tuple[int, int]]], length: int) -> None:
    """The model: which step last covered a page, and how far into that step's range the page is."""
    areas, model = VmaMap(), dict[int, tuple[int, int]]()
    for number, (adds, (start, end)) in enumerate(steps):
        areas.remove(start, end)
        for page in range(start, end):
            model.pop(page, None)
        if adds:
            areas.insert(Vma(start, end, 3, offset=0, name=str(number)))
            model |= {page: (number, page - start) for page in range(start, end)}
    for page in range(80):
        area = areas.find(page)
        assert (area is None) == (page not in model)
        if area is not None:
            assert (int(area.name), area.offset + page - area.start) == model[page]
    starts = [area.start for area in areas]
    assert starts == sorted(starts)
    gap = areas.gap_below(80, length, 0)
    free = [at for at in range(81 - length) if not any(page in model for page in range(at, at + length))]
    assert gap == (max(free) if free else None)
