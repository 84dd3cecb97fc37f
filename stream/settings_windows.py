"""Window families as they stand in the file, and what they must fulfil together."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stream.settings_file import quoted
from stream.settings_values import Name, Section, broken, duration, duration_text, refuse
from stream.windows import WindowSpec, pane_length

PANES_MAX: Final = 10_000  # of one window: a close reads and merges this many; 7d in panes of 1m is 10 080 and already too fine


class WindowSection(Section):
    name: Name | None = None
    size_ms: Annotated[int, duration("1ms")] = Field(alias="size")
    slide_ms: Annotated[int, duration("1ms")] | None = Field(default=None, alias="slide")

    @field_validator("slide_ms")
    @classmethod
    def _covers_all_time(cls, slide_ms: int | None, info: ValidationInfo) -> int | None:
        size_ms = info.data.get("size_ms")
        if slide_ms is not None and size_ms is not None and slide_ms > size_ms:
            raise broken(f"at most the size, {duration_text(size_ms)}: between the windows events would count nowhere")
        return slide_ms

    def spec(self) -> WindowSpec:
        """The window family, name and slide filled in."""
        slide_ms = self.slide_ms or self.size_ms
        sliding = "" if slide_ms == self.size_ms else f"/{duration_text(slide_ms)}"
        return WindowSpec(self.name or duration_text(self.size_ms) + sliding, self.size_ms, slide_ms)


def _fit_together(windows: tuple[WindowSection, ...]) -> tuple[WindowSection, ...]:
    specs = [window.spec() for window in windows]
    pane_ms = pane_length(specs)
    names = [spec.name for spec in specs]
    rule = (
        f"at most {PANES_MAX} panes; a pane is the greatest common divisor of all sizes and slides of the model, {duration_text(pane_ms)}"
    )
    taken = [
        ((i, "name"), f"a name of its own: {quoted(name)} is that of window {names.index(name)}")
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    refuse([*taken, *(((i, "size"), rule) for i, spec in enumerate(specs) if spec.size_ms > PANES_MAX * pane_ms)])
    return windows


def _at_least_one(windows: tuple[WindowSection, ...]) -> tuple[WindowSection, ...]:
    if not windows:
        raise broken("at least one window")
    return windows


AnyWindows = Annotated[tuple[WindowSection, ...], AfterValidator(_fit_together)]  # none, too
Windows = Annotated[AnyWindows, AfterValidator(_at_least_one)]
