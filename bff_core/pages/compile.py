"""From a page's declaration to its plan; every mistake is found here, with the section and parameter named."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter
from types import MethodType
from typing import Any, ClassVar, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model

from ..clients import Operation, ServiceClient
from ..context import Principal, RequestContext
from ..errors import DeclarationError
from .annotations import admits_none, fits, is_scalar, show
from .declare import Page, Rules, Section, Shape
from .plan import Derived, Getter, Input, Plan, PlannedSection

__all__ = ["compile_page"]

RESERVED = frozenset({"principal", "include", "fields", "plan"})
PRINCIPAL, CONTEXT = 0, 1


def compile_page(page: type[Page]) -> Plan:
    """The plan of ``page``; raises ``DeclarationError``."""
    return _Compiler(page).plan()


class _Compiler:
    """Holds what is being collected while one page is compiled."""

    def __init__(self, page: type[Page]) -> None:
        self.page = page
        self.instance = object.__new__(page)
        self.template: list[Any] = [None, None]
        self.inputs: dict[str, Input] = {}
        self.clients: dict[int, type[ServiceClient]] = {}
        self.uses_principal = self.uses_context = False
        members = {name: getattr(page, name) for cls in reversed(page.__mro__[:-1]) for name in vars(cls)}
        self.sections = {name: value for name, value in members.items() if isinstance(value, Section)}
        self.shapes = [value for value in members.values() if isinstance(value, Shape)]
        self.slots: dict[str, int] = {}

    def plan(self) -> Plan:
        if not self.sections:
            raise self.error("has no section; declare some with required(...), optional(...) or @section")
        if len(self.shapes) > 1:
            raise self.error("has more than one @shape")
        self._declared_inputs()
        self.types = {name: self._type(section) for name, section in self.sections.items()}
        for name in self.sections:
            if name in RESERVED or name in self.inputs:
                raise self.error(f"'{name}' cannot be the name of a section: it is taken")
            self.slots[name] = self.slot()
        self._implied_inputs()
        drafts = [self._section(name, section) for name, section in self.sections.items()]
        sections = self._ordered(drafts)
        shape, getter, model = self._shape()
        self._check_feeds(sections, model)
        return Plan(
            name=self.page.__name__,
            doc=inspect.cleandoc(self.page.__doc__ or ""),
            sections=sections,
            inputs=tuple(self.inputs.values()),
            clients=self.clients,
            principal_slot=PRINCIPAL,
            context_slot=CONTEXT,
            template=self.template,
            shape=shape,
            shape_arguments=getter,
            model=model,
            uses_principal=self.uses_principal,
            uses_context=self.uses_context,
            optional_names=frozenset(section.name for section in sections if not section.required),
        )

    def error(self, message: str, section: str | None = None) -> DeclarationError:
        where = f"{self.page.__name__}.{section}" if section else self.page.__name__
        return DeclarationError(f"{where}: {message}")

    def slot(self, value: Any = None) -> int:
        self.template.append(value)
        return len(self.template) - 1

    def _declared_inputs(self) -> None:
        hints = get_type_hints(self.page, include_extras=True)
        for name, annotation in hints.items():
            if get_origin(annotation) is ClassVar or annotation is ClassVar or name in self.sections:
                continue
            if name in RESERVED:
                raise self.error(f"'{name}' cannot be the name of a parameter: it is taken")
            default = getattr(self.page, name, inspect.Parameter.empty)
            self._input(name, annotation, default, implied=False)

    def _input(self, name: str, annotation: Any, default: Any, *, implied: bool) -> None:
        self.slots[name] = slot = self.slot(None if default is inspect.Parameter.empty else default)
        self.inputs[name] = Input(name, slot, annotation, default, implied)

    def _implied_inputs(self) -> None:
        for name, section in self.sections.items():
            for parameter, annotation, needed in self._parameters(name, section):
                bound = parameter in section.bind or parameter in self.slots or parameter == "principal"
                if not bound and needed and is_scalar(annotation):
                    self._input(parameter, annotation, inspect.Parameter.empty, implied=True)

    def _parameters(self, name: str, section: Section[Any]) -> list[tuple[str, Any, bool]]:
        if isinstance(section.target, Operation):
            return [(p.name, p.annotation, p.required) for p in section.target.parameters]
        hints = self._hints(section.target, name)
        if next(iter(inspect.signature(section.target).parameters), None) != "self":
            raise self.error("a section is a method: its first parameter is 'self'", name)
        found = []
        for parameter in list(inspect.signature(section.target).parameters.values())[1:]:
            if parameter.name not in hints:
                raise self.error(f"parameter '{parameter.name}' needs a type annotation", name)
            found.append((parameter.name, hints[parameter.name], parameter.default is parameter.empty))
        return found

    def _hints(self, function: Callable[..., Any], name: str) -> dict[str, Any]:
        try:
            return get_type_hints(function)
        except NameError as error:
            raise self.error(f"an annotation cannot be resolved: {error}", name) from error

    def _type(self, section: Section[Any]) -> Any:
        if isinstance(section.target, Operation):
            return section.target.returns
        hints = self._hints(section.target, section.name)
        if "return" not in hints:
            raise self.error("say what the section returns, e.g. '-> Stock'", section.name)
        return hints["return"]

    def _section(self, name: str, section: Section[Any]) -> PlannedSection:
        self._check_times(name, section.rules)
        depends: dict[str, None] = {}
        derived: list[Derived] = []
        arguments = []
        parameters = self._parameters(name, section)
        if unknown := [key for key in section.bind if key not in {p[0] for p in parameters}]:
            known = ", ".join(p[0] for p in parameters) or "none"
            raise self.error(
                f"binds '{unknown[0]}', which {self._target(section)} does not take (it takes: {known})", name
            )
        for parameter, annotation, needed in parameters:
            arguments.append(self._argument(name, section, parameter, annotation, needed, depends, derived))
        when = None
        if section.rules.when is not None:
            when = self._derive(name, "when", section.rules.when, depends)
        allow = None
        if section.rules.allow is not None:
            if inspect.iscoroutinefunction(section.rules.allow):
                raise self.error("allow= is async, and an awaitable is no answer; give a plain function", name)
            allow = self._derive(name, "allow", section.rules.allow, depends)
        self._check_fallback(name, section)
        operation = section.target if isinstance(section.target, Operation) else None
        function = None if isinstance(section.target, Operation) else MethodType(section.target, self.instance)
        return PlannedSection(
            index=0,
            name=name,
            slot=self.slots[name],
            operation=operation,
            function=function,
            target=self._target(section),
            required=section.rules.required,
            timeout=section.rules.timeout,
            fallback=section.rules.fallback,
            stale_for=section.rules.stale_for,
            feeds=frozenset(section.rules.feeds),
            relay_status=section.rules.relay_status,
            arguments=_getter(arguments),
            derived=tuple(derived),
            when=when,
            allow=allow,
            depends_on=tuple(depends),
            waits_for=len(depends),
            dependents=(),
        )

    def _target(self, section: Section[Any]) -> str:
        if isinstance(section.target, Operation):
            return f"{section.target.service} {section.target.method} {section.target.path}"
        return section.target.__name__

    def _argument(
        self,
        name: str,
        section: Section[Any],
        parameter: str,
        annotation: Any,
        needed: bool,
        depends: dict[str, None],
        derived: list[Derived],
    ) -> int:
        """The slot where the argument for ``parameter`` will stand."""
        if parameter in section.bind:
            value = section.bind[parameter]
            if not callable(value):
                return self.slot(value)
            derivation = self._derive(name, parameter, value, depends)
            derived.append(derivation)
            return derivation.slot
        if isinstance(annotation, type):
            if issubclass(annotation, ServiceClient):
                slot = self.slot()
                self.clients[slot] = annotation
                return slot
            if issubclass(annotation, RequestContext):
                self.uses_context = True
                return CONTEXT
            if issubclass(annotation, Principal):
                self.uses_principal = True
                return PRINCIPAL
        if parameter != name and (slot := self._named(parameter, depends)) >= 0:
            self._check_type(name, parameter, annotation)
            return slot
        if not needed:
            operation = section.target
            if isinstance(operation, Operation):
                return self.slot(next(p.default for p in operation.parameters if p.name == parameter))
            return self.slot(inspect.signature(operation).parameters[parameter].default)
        raise self.error(
            f"needs '{parameter}', which is neither a section, nor a parameter of the page, nor a simple value that "
            f"the path could give",
            name,
        )

    def _named(self, name: str, depends: dict[str, None]) -> int:
        if name == "principal":
            self.uses_principal = True
            return PRINCIPAL
        if name in self.sections:
            depends[name] = None
        return self.slots.get(name, -1)

    def _derive(self, name: str, parameter: str, function: Callable[..., Any], depends: dict[str, None]) -> Derived:
        slots = []
        for needed in inspect.signature(function).parameters:
            slot = self._named(needed, depends) if needed != name else -1
            if slot < 0:
                known = ", ".join([*self.sections, *self.inputs, "principal"])
                raise self.error(f"the function for '{parameter}' needs '{needed}'; there is: {known}", name)
            slots.append(slot)
        return Derived(self.slot(), function, _getter(slots))

    def _check_times(self, name: str, rules: Rules) -> None:
        if rules.timeout is not None and not rules.timeout > 0:
            raise self.error(f"timeout={rules.timeout} leaves no time: give seconds, more than 0, or None", name)
        if not rules.stale_for >= 0:
            raise self.error(f"stale_for={rules.stale_for} is no age: give seconds, 0 for never", name)

    def _check_type(self, name: str, parameter: str, annotation: Any) -> None:
        if parameter in self.types and not fits(self.types[parameter], annotation):
            raise self.error(
                f"takes '{parameter}' as {show(annotation)}, but that section is {show(self.types[parameter])}", name
            )

    def _check_fallback(self, name: str, section: Section[Any]) -> None:
        fallback = section.rules.fallback
        if section.rules.required or fallback is None:
            return
        try:
            TypeAdapter(self.types[name]).validate_python(fallback, strict=True)
        except ValidationError:
            raise self.error(f"the fallback {fallback!r} is not a {show(self.types[name])}", name) from None

    def _ordered(self, drafts: list[PlannedSection]) -> tuple[PlannedSection, ...]:
        by_name = {draft.name: draft for draft in drafts}
        order: list[str] = []
        trail: list[str] = []

        def visit(name: str) -> None:
            if name in order:
                return
            if name in trail:
                raise self.error(f"sections depend on each other in a circle: {' -> '.join([*trail, name])}")
            trail.append(name)
            for needed in by_name[name].depends_on:
                if by_name[name].required and not by_name[needed].required:
                    raise self.error(f"is required, but depends on '{needed}', which is optional", name)
                visit(needed)
            trail.pop()
            order.append(name)

        for name in by_name:
            visit(name)
        place = {name: index for index, name in enumerate(order)}
        return tuple(
            replace(
                by_name[name],
                index=index,
                dependents=tuple(place[other.name] for other in drafts if name in other.depends_on),
            )
            for name, index in place.items()
        )

    def _shape(self) -> tuple[Callable[..., Any], Getter, type[BaseModel]]:
        if not self.shapes:
            return self._default_shape()
        function = self.shapes[0].function
        hints = self._hints(function, function.__name__)
        model = hints.get("return")
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise self.error("a shape returns a pydantic model; say which, e.g. '-> WebProduct'", function.__name__)
        first, *parameters = inspect.signature(function).parameters or [""]
        if first != "self":
            raise self.error("a shape is a method: its first parameter is 'self'", function.__name__)
        slots = []
        for parameter in parameters:
            slot = self._named(parameter, {})
            if slot < 0:
                known = ", ".join([*self.sections, *self.inputs])
                raise self.error(f"takes '{parameter}', which is not there; there is: {known}", function.__name__)
            if parameter in self.sections and parameter in hints:
                self._check_shaped(function.__name__, parameter, hints[parameter])
            slots.append(slot)
        return MethodType(function, self.instance), _getter(slots), model

    def _check_shaped(self, name: str, parameter: str, annotation: Any) -> None:
        self._check_type(name, parameter, annotation)
        rules = self.sections[parameter].rules
        may_be_none = rules.fallback is None and (not rules.required or rules.when is not None)
        if may_be_none and not admits_none(annotation):
            # A required section has no fallback: it is left out by its when= alone.
            way = "make it optional(...) with a fallback" if rules.required else "give the section a fallback"
            raise self.error(
                f"takes '{parameter}' as {show(annotation)}, but that section may be missing: annotate it "
                f"'{show(annotation)} | None' or {way}",
                name,
            )

    def _default_shape(self) -> tuple[Callable[..., Any], Getter, type[BaseModel]]:
        fields: dict[str, Any] = {}
        for name, section in self.sections.items():
            missing = section.rules.fallback is None and (not section.rules.required or section.rules.when is not None)
            fields[name] = (self.types[name] | None, None) if missing else (self.types[name], ...)
        model: type[BaseModel] = create_model(self.page.__name__, **fields)
        names = list(fields)
        all_set = set(names)
        new, put = object.__new__, object.__setattr__

        def build(*values: Any) -> BaseModel:
            # As model_construct, with every field given: what it would find out anew each time is known here.
            made: BaseModel = new(model)
            put(made, "__dict__", dict(zip(names, values, strict=True)))
            put(made, "__pydantic_fields_set__", all_set)
            put(made, "__pydantic_extra__", None)
            put(made, "__pydantic_private__", None)
            return made

        return build, _getter([self.slots[name] for name in names]), model

    def _check_feeds(self, sections: Sequence[PlannedSection], model: type[BaseModel]) -> None:
        for section in sections:
            if unknown := section.feeds - set(model.model_fields):
                raise self.error(f"feeds '{min(unknown)}', which {model.__name__} does not have", section.name)


def _getter(slots: Sequence[int]) -> Getter:
    if len(slots) > 1:
        return itemgetter(*slots)
    if slots:
        only = slots[0]
        return lambda values: (values[only],)
    return lambda _: ()
