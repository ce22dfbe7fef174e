"""Results of tests as JUnit XML, which build servers read (the schema of Jenkins' xUnit plugin,
junit-10.xsd).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from unikiln.observe.testrun import Result, Verdict

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may have in it, not even escaped."""


def document(suite: str, results: Sequence[Result], seconds: float) -> bytes:
    """The XML for ``results``; ``seconds`` is what all took together."""
    failures = sum(each.verdict is Verdict.failed for each in results)
    errors = sum(each.verdict in (Verdict.timeout, Verdict.crashed) for each in results)
    counts = {"tests": str(len(results)), "failures": str(failures), "errors": str(errors)}
    counts["time"] = f"{seconds:.3f}"
    top = Element("testsuites", counts)
    inner = SubElement(top, "testsuite", {"name": _clean(suite), **counts})
    for each in results:
        _case(inner, suite, each)
    indent(top)
    text: str = tostring(top, "unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _case(suite: Element, suite_name: str, result: Result) -> None:
    case = SubElement(
        suite,
        "testcase",
        {"classname": _clean(suite_name), "name": _clean(result.name), "time": f"{result.seconds:.3f}"},
    )
    if result.verdict is not Verdict.passed:
        tag = "failure" if result.verdict is Verdict.failed else "error"
        problem = SubElement(case, tag, {"type": result.verdict.value, "message": _clean(result.reason)})
        problem.text = _clean(result.messages)
    if result.output:
        SubElement(case, "system-out").text = _clean(result.output)
    if result.messages:
        SubElement(case, "system-err").text = _clean(result.messages)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
