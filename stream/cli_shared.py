"""What the commands share: the option for the configuration, errors that a user can act on, a progress bar."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from stream.settings import Settings

DEFAULT_CONFIG: Final = Path("config/driftstream.yaml")
UNUSABLE: Final = 2  # exit code

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="DRIFTSTREAM_CONFIG",
    help="The configuration file (YAML).",
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn the errors that a user can act on into a message and exit code 2."""
    from stream.kafka import InvalidOptionError, KafkaUnavailableError
    from stream.reference import InvalidReferenceError
    from stream.schema import FieldMappingError
    from stream.settings_file import ConfigError
    from stream.store import WrongSourceError
    from stream.store_redis import StoreUnavailableError

    try:
        yield
    except (ConfigError, InvalidReferenceError, InvalidOptionError, FieldMappingError, KafkaUnavailableError, WrongSourceError) as error:
        raise unusable(str(error)) from None
    except StoreUnavailableError as error:
        raise unusable(f"cannot reach Redis: {error}; check redis.url") from None
    except OSError as error:
        raise unusable(f"{error.filename or 'file'}: {error.strerror or error}") from None


def unusable(message: str) -> click.ClickException:
    """The message, with exit code 2."""
    error = click.ClickException(message)
    error.exit_code = UNUSABLE
    return error


def settings_of(config: Path) -> "Settings":
    """The settings in this file and the environment."""
    from stream.settings import load_settings

    return load_settings(config, os.environ)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, rows: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=rows, total=total, description=f"{stage} {rows:,} rows")

        yield report
