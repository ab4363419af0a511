"""A wrong page is refused when its class is made, and the message names what is wrong."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Query
from pydantic import BaseModel

from bff_core import DeclarationError, Page, Principal, ServiceClient, get, optional, post, required, section, shape


class Thing(BaseModel):
    id: str


class Other(BaseModel):
    name: str


class Things(ServiceClient, service="things"):
    @get("/things/{thing_id}")
    async def thing(self, thing_id: str) -> Thing: ...

    @get("/things", batch="ids")
    async def things(self, ids: list[str]) -> list[Thing]: ...

    @get("/others")
    async def other(self) -> Other: ...

    async def forgotten(self, thing_id: str) -> Thing: ...


class Out(BaseModel):
    thing: Thing


def declare(**members: Any) -> type[Page]:
    return type("Bad", (Page,), members)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "Bad: has no section"),
        ({"thing": required(Things.thing, nope=1)}, "Bad.thing: binds 'nope', which things GET /things/{thing_id}"),
        (
            {"thing": required(Things.thing, thing_id=lambda ordr: ordr)},
            "Bad.thing: the function for 'thing_id' needs 'ordr'",
        ),
        (
            {
                "one": required(Things.things, ids=lambda two: [two.id]),
                "two": required(Things.thing, thing_id=lambda one: one[0].id),
            },
            "in a circle: one -> two -> one",
        ),
        (
            {"one": optional(Things.thing), "two": required(Things.things, ids=lambda one: [one.id])},
            "Bad.two: is required, but depends on 'one', which is optional",
        ),
        ({"many": optional(Things.things, ids=["a"], fallback={})}, "Bad.many: the fallback {} is not a list"),
        ({"principal": required(Things.thing)}, "'principal' cannot be the name of a section"),
        ({"many": required(Things.things)}, "Bad.many: needs 'ids'"),
        (
            {"thing": required(Things.thing, when=lambda nobody: nobody)},
            "Bad.thing: the function for 'when' needs 'nobody'",
        ),
        ({"thing": optional(Things.thing, feeds=["nope"])}, "Bad.thing: feeds 'nope', which Bad does not have"),
    ],
)
def test_wrong_page(members: dict[str, Any], message: str) -> None:
    """Each mistake has a message of its own."""
    with pytest.raises(DeclarationError) as error:
        declare(**members)
    assert message in str(error.value)


@pytest.mark.parametrize("declared", [required, optional])
@pytest.mark.parametrize("target", [Things.forgotten, lambda: 1, Other])
def test_only_an_operation_is_called(declared: Any, target: Any) -> None:
    """A method without its @get is none: it would give its page nothing."""
    with pytest.raises(DeclarationError, match=r"is no operation: .*@get.*@section") as refused:
        declared(target)
    assert str(refused.value).startswith(target.__qualname__)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_times_that_cannot_be(seconds: float) -> None:
    """A section with no time would fail whatever its service does."""
    for declared in (required(Things.other, timeout=seconds), optional(Things.other, timeout=seconds)):
        with pytest.raises(DeclarationError, match=f"Bad.other: timeout={seconds} leaves no time"):
            declare(other=declared)
    if seconds != 0:
        with pytest.raises(DeclarationError, match=f"Bad.other: stale_for={seconds} is no age"):
            declare(other=optional(Things.other, stale_for=seconds))


def test_the_hint_fits_the_section() -> None:
    """What is required has no fallback."""
    with pytest.raises(DeclarationError, match=r"'Thing \| None' or make it optional\(...\) with a fallback"):

        class Left(Page):
            thing = required(Things.thing, when=lambda thing_id: thing_id != "")

            @shape
            def shape(self, thing: Thing) -> Out: ...


def test_wrong_shapes() -> None:
    """A shape must name what there is, take what may be missing, and return a model."""
    with pytest.raises(DeclarationError, match=r"shape: takes 'thnig', which is not there; there is: thing"):

        class Typo(Page):
            thing = required(Things.thing)

            @shape
            def shape(self, thnig: Thing) -> Out: ...

    with pytest.raises(DeclarationError, match=r"annotate it 'Thing \| None' or give the section a fallback"):

        class Missing(Page):
            thing = optional(Things.thing)

            @shape
            def shape(self, thing: Thing) -> Out: ...

    with pytest.raises(DeclarationError, match="takes 'thing' as Other, but that section is Thing"):

        class Wrong(Page):
            thing = required(Things.thing)

            @shape
            def shape(self, thing: Other) -> Out: ...

    with pytest.raises(DeclarationError, match="a shape returns a pydantic model"):

        class NoModel(Page):
            thing = required(Things.thing)

            @shape
            def shape(self, thing: Thing) -> dict[str, Any]: ...

    with pytest.raises(DeclarationError, match="its first parameter is 'self'"):

        class NoSelf(Page):
            thing = required(Things.thing)

            @shape
            def shape(thing: Thing) -> Out: ...  # noqa: N805 - the mistake

    with pytest.raises(DeclarationError, match="is async"):

        class Async(Page):
            thing = required(Things.thing)

            @shape
            async def shape(self, thing: Thing) -> Out: ...


def test_wrong_sections() -> None:
    """A section's function is read like an operation's signature."""
    with pytest.raises(DeclarationError, match="stock: say what the section returns"):

        class NoReturn(Page):
            @section
            async def stock(self):  # type: ignore[no-untyped-def]  # that is the mistake
                ...

    with pytest.raises(DeclarationError, match="parameter 'x' needs a type annotation"):

        class NoAnnotation(Page):
            @section
            async def stock(self, x) -> int: ...  # type: ignore[no-untyped-def]  # that is the mistake

    with pytest.raises(DeclarationError, match="takes 'thing' as Other, but that section is Thing"):

        class Wrong(Page):
            thing = required(Things.thing)

            @section
            async def stock(self, thing: Other) -> int: ...

    with pytest.raises(DeclarationError, match=r"NoSelf\.stock: a section is a method: its first parameter"):

        class NoSelf(Page):
            @section
            async def stock(thing_id: str) -> int: ...  # noqa: N805 - the mistake

    with pytest.raises(DeclarationError, match="optional section only"):
        section(fallback=1)


def test_wrong_clients() -> None:
    """An operation is checked when its class is made."""

    def wrong(match: str) -> Any:
        return pytest.raises(DeclarationError, match=match)

    with wrong("the path has '{b}', but no parameter"):

        class A(ServiceClient, service="a"):
            @get("/x/{b}")
            async def a(self, c: str) -> Thing: ...

    with wrong("say what it returns"):

        class B(ServiceClient, service="a"):
            @get("/x")
            async def a(self): ...  # type: ignore[no-untyped-def]  # that is the mistake

    with wrong("a GET request has no body, but 'thing' is one"):

        class C(ServiceClient, service="a"):
            @get("/x")
            async def a(self, thing: Thing) -> Thing: ...

    with wrong("batch='ids' names no parameter"):

        class D(ServiceClient, service="a"):
            @get("/x", batch="ids")
            async def a(self) -> list[Thing]: ...

    with wrong("a batch look-up returns a list"):

        class E(ServiceClient, service="a"):
            @get("/x", batch="ids")
            async def a(self, ids: list[str]) -> Thing: ...

    with wrong("more than one body parameter: a, b"):

        class F(ServiceClient, service="a"):
            @post("/x")
            async def a(self, a: Thing, b: Thing) -> Thing: ...

    with wrong("name its service"):

        class G(ServiceClient): ...

    with wrong("must begin with '/'"):

        class H(ServiceClient, service="a"):
            @get("x")
            async def a(self) -> Thing: ...

    with wrong("cannot be resolved"):

        class J(ServiceClient, service="a"):
            @get("/x")
            async def a(self) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821 - that is the mistake


def test_plan_tells_what_it_knows() -> None:
    """Sections come in an order in which they can run; inputs are the declared ones and those of the path."""

    class Good(Page):
        """A page."""

        limit: Annotated[int, Query(le=3)] = 2
        cards = optional(Things.things, ids=lambda thing, limit: [thing.id] * limit, fallback=[])
        thing = required(Things.thing)

        @section(optional=True)
        async def mine(self, principal: Principal, thing: Thing, things: Things) -> int:
            return 1

    plan = Good.plan
    assert [section.name for section in plan.sections] == ["thing", "cards", "mine"]
    assert plan.sections[1].depends_on == ("thing",)
    assert {entry.name: entry.implied for entry in plan.inputs} == {"limit": False, "thing_id": True}
    assert plan.uses_principal
    assert plan.doc == "A page."
    assert set(plan.model.model_fields) == {"thing", "cards", "mine"}
