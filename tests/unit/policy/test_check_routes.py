from __future__ import annotations

import pytest

from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources


def _problems(*matches: str) -> list[str]:
    text = "upstreams: {u: {targets: [http://u]}}\ntiers: {t: {}}\nroutes:\n" + "".join(
        f"  - {{name: r{number}, match: {{{match}}}, upstream: u}}\n" for number, match in enumerate(matches)
    )
    return [str(problem) for problem in compile_sources(Sources((("a.yaml", text.encode()),))).problems]


@pytest.mark.parametrize(
    ("case", "earlier", "later", "reached"),
    [
        ("the same path", "path: /a", "path: /a", False),
        ("everything first", "path: /**", "path: /a/b", False),
        ("everything below", "path: /a/**", "path: /a", False),
        ("a smaller below", "path: /a/**", "path: /a/b/**", False),
        ("a larger below", "path: /a/b/**", "path: /a/**", True),
        ("a star holds a name", "path: /a/*", "path: /a/b", False),
        ("a star holds a star", "path: /*/b", "path: /*/b", False),
        ("a name holds no star", "path: /a/b", "path: /a/*", True),
        ("a star is one segment", "path: /*", "path: /a/b", True),
        ("a star is not none", "path: /a/*", "path: /a", True),
        ("a star is not everything below", "path: /a/*", "path: /a/**", True),
        ("the root alone", "path: /", "path: /a", True),
        ("every method holds one", "path: /a", "'path': /a, methods: [GET]", False),
        ("one method does not hold every", "path: /a, methods: [GET]", "path: /a", True),
        ("GET holds HEAD", "path: /a, methods: [GET]", "path: /a, methods: [HEAD]", False),
        ("HEAD does not hold GET", "path: /a, methods: [HEAD]", "path: /a, methods: [GET]", True),
        ("every host holds one", "path: /a", "path: /a, hosts: [h]", False),
        ("one host does not hold every", "path: /a, hosts: [h]", "path: /a", True),
        ("nor another", "path: /a, hosts: [h]", "path: /a, hosts: [g]", True),
        ("all below hold one", "path: /a, hosts: ['*.h']", "path: /a, hosts: [g.h, f.g.h]", False),
        ("all below hold all further below", "path: /a, hosts: ['*.h']", "path: /a, hosts: ['*.g.h']", False),
        ("not the other way", "path: /a, hosts: ['*.g.h']", "path: /a, hosts: ['*.h']", True),
        ("nor the name itself", "path: /a, hosts: ['*.h']", "path: /a, hosts: [h]", True),
        ("nor one that only ends like it", "path: /a, hosts: ['*.h']", "path: /a, hosts: [gh]", True),
        ("nor all and one more", "path: /a, hosts: ['*.h']", "path: /a, hosts: [g.h, g]", True),
        ("one holds not all below", "path: /a, hosts: [g.h]", "path: /a, hosts: ['*.h']", True),
        ("a name in braces is a star", "path: '/{a}/b'", "path: '/*/b'", False),
        ("a star is a name in braces", "path: /*/b", "path: '/{a}/b'", False),
        ("a name in braces holds a name", "path: '/{a}'", "path: /a", False),
        ("two hold one", "path: /a, hosts: [g, h]", "path: /a, hosts: [g]", False),
    ],
)
def test_a_route_behind_one_that_takes_all_its_calls(
    case: str, earlier: str, later: str, reached: bool
) -> None:
    problems = _problems(earlier, later)
    if reached:
        assert problems == []
    else:
        assert len(problems) == 1
        assert "routes[r1].match: is never reached: the earlier route `r0` at a.yaml:4" in problems[0]
