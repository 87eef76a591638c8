from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

class tqdm(Generic[T]):  # noqa: N801
    def __init__(self, iterable: Iterable[T]) -> None: ...
    def __iter__(self) -> Iterator[T]: ...
