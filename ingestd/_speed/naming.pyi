from collections.abc import Callable

class Naming:
    def __init__(
        self,
        scheme: tuple[bytes, bytes, bytes, bytes, bytes, bool, int, int] | None,
        describe: Callable[[bytes, bytes], tuple[list[bytes], list[tuple[float, float]], bool] | None],
        reference: Callable[[tuple[bytes, ...], list[bytes]], list[bytes]],
    ) -> None: ...
    def clear(self) -> None: ...
    def spellings(self, fields: tuple[bytes, ...], sources: list[bytes]) -> list[bytes]: ...
