"""The `tollway` command."""


def main() -> None:
    """Run the command line."""
