"""Which beginnings of prompts stand in the KV memory, so that none is computed twice.

A radix tree over tokens, as in RadixAttention (Zheng et al., SGLang, 2023): every node holds a run of tokens and the
sequence id under which the KV cells of just that run are parked. A sequence that begins with a path of the tree takes
its cells as its own, which copies nothing; what it computes beyond is parked in turn, while it still runs. There is one
tree for each space (a tenant and a label), and nothing is ever looked up in another: no timing tells one tenant what
another has asked. It knows nothing of llama.cpp but the two calls of `Cells`.

What is parked has a price: attention looks at every cell of the memory, if only to find it masked. So what nobody comes
back to is forgotten, also where there is room: soon if it was never shared, as most ends of prompts are, and late if it
was, as in a segmented LRU cache (Karedla, Love and Wherry, 1994).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
PATIENCE = 4096
"""Ticks after which a prefix is forgotten that nobody but its maker has used: some turns of an agent."""
TRUST = 16
"""How many times longer one stays that others have used."""
SWEEP = 256
"""Ticks between two looks at what is too old."""


class Cells(Protocol):
    """The KV memory: a cell holds one token at one position, for one sequence id or several."""

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Makes the cells of `source` at positions start to end (exclusive) those of `target` as well."""
        ...

    def drop(self, sequence: int, start: int, end: int) -> None:
        """Takes the cells at positions start to end (exclusive; -1: all that follow) away from a sequence id.

        A cell that no id has any more is free.
        """
        ...


@dataclass(slots=True, eq=False)
class Node:
    """A run of tokens that begins at position `start`, parked under the sequence id `parked`."""

    tokens: Tokens
    start: int
    parked: int
    parent: "Node | None"
    children: dict[int, "Node"] = field(default_factory=dict)
    pins: int = 0
    """How many running sequences stand at its end: a node with pins or children is not evicted."""
    used: int = 0
    """When it was last used, in ticks of the tree."""
    shared: bool = False
    """Whether it was of use to another than its maker."""

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.start + len(self.tokens)


def common(one: Tokens, other: Tokens) -> int:
    """How many tokens two runs have in common at their beginning."""
    most = min(len(one), len(other))
    differ = np.flatnonzero(one[:most] != other[:most])
    return int(differ[0]) if len(differ) else most


class PrefixTree:
    """The parked prefixes. `ids` are the sequence ids that it may park under.

    A sequence stands on the node up to whose end it has been given its cells, and pins it: the cells at the positions
    below that are the tree's, those above are its own. So nothing is held for a sequence that it does not hold itself,
    and one that runs alone can have the whole memory.
    """

    def __init__(self, cells: Cells, ids: Iterable[int]) -> None:
        self._cells = cells
        self._free = list(ids)
        self._roots: dict[str, Node] = {}
        self._tick = self._swept = 0
        self.tokens = 0
        """Tokens that are parked: the cells that the tree holds."""
        self.parks = bool(self._free)
        """Whether anything is ever parked."""

    @property
    def pinned(self) -> int:
        """Tokens that cannot be evicted, since running sequences stand on them."""
        held: set[Node] = set()
        for node in self._nodes():
            each: Node | None = node if node.pins else None
            while each and each not in held:
                held.add(each)
                each = each.parent
        return sum(len(node.tokens) for node in held)

    def match(self, space: str, tokens: Tokens) -> int:
        """How many of the first tokens are parked."""
        node, depth, whole = self._root(space), 0, True
        while whole and depth < len(tokens) and (child := node.children.get(int(tokens[depth]))):
            taken = common(child.tokens, tokens[depth:])
            node, depth, whole = child, depth + taken, taken == len(child.tokens)
        return depth

    def attach(self, space: str, tokens: Tokens, sequence: int) -> Node:
        """Gives a sequence id the parked cells of the longest beginning of `tokens`.

        Returns the node that it now stands on: it was given what is parked up to the end of that. `release` lifts the
        pin.
        """
        node = top = self._root(space)
        for node in self._down(top, tokens):
            self._cells.share(node.parked, sequence, node.start, node.end)
        self._pin(node)
        return node

    def grow(self, tokens: Tokens, sequence: int, stand: Node) -> Node:
        """Parks all of `tokens`, whose cells `sequence` holds; returns where it stands now.

        What another has parked of them meanwhile is given to it in exchange for its own cells. If no id is left to park
        under, the rest is not parked.
        """
        node = stand
        for node in self._down(stand, tokens):
            self._cells.drop(sequence, node.start, node.end)
            self._cells.share(node.parked, sequence, node.start, node.end)
            node.shared = True
        self._pin(node)
        self.release(stand)
        return self._extend(node, tokens, sequence) if node.end < len(tokens) else node

    def release(self, node: Node) -> None:
        """Lifts one pin."""
        node.pins -= 1

    def trust(self, stand: Node) -> None:
        """Notes that what a sequence stands on was worth parking: it stays longer."""
        node: Node | None = stand
        while node:
            node.shared, node = True, node.parent

    def evict(self) -> int:
        """Forgets the leaf that was not used for longest; returns its tokens, 0 if every leaf is in use."""
        oldest = min(self._leaves(), key=lambda node: node.used, default=None)
        return self._forget(oldest) if oldest else 0

    def age(self, ticks: int) -> None:
        """Lets time pass; now and then, forgets the leaves that were not used for too long."""
        self._tick += ticks
        if self._tick - self._swept < SWEEP:
            return
        self._swept = self._tick
        for node in self._leaves():
            if self._tick - node.used > PATIENCE * (TRUST if node.shared else 1):
                self._forget(node)

    def clear(self) -> None:
        """Forgets everything at once, without a call to the memory: for when that has lost it all already."""
        self._free += [node.parked for node in self._nodes() if node.parent]
        self._roots.clear()
        self.tokens = 0

    def _root(self, space: str) -> Node:
        if space not in self._roots:
            self._roots[space] = Node(np.empty(0, np.int32), 0, -1, None)
        return self._roots[space]

    def _down(self, node: Node, tokens: Tokens) -> Iterator[Node]:
        """The nodes below one along `tokens`, the last of them cut to what matches, if there is an id for the rest."""
        while node.end < len(tokens) and (child := node.children.get(int(tokens[node.end]))):
            taken = common(child.tokens, tokens[node.end :])
            if taken < len(child.tokens):
                if not self._make_id(child):
                    return
                child = self._split(child, taken)
            yield child
            node = child

    def _pin(self, node: Node) -> None:
        # Those above it need no newer tick: they are not leaves before all below them are forgotten.
        node.pins += 1
        self._tick += 1
        node.used = self._tick

    def _extend(self, node: Node, tokens: Tokens, sequence: int) -> Node:
        """Parks what follows a node on which a sequence stands: in the node itself if only this one has used that."""
        start = node.end
        if node.parent and not node.children and node.pins == 1 and not node.shared:
            self._cells.share(sequence, node.parked, start, len(tokens))
            node.tokens = np.concatenate([node.tokens, tokens[start:]])
        elif self._make_id(node):
            self.release(node)
            node = Node(tokens[start:].copy(), start, self._free.pop(), node, pins=1, used=self._tick)
            self._cells.share(sequence, node.parked, start, len(tokens))
            assert node.parent
            node.parent.children[int(node.tokens[0])] = node
        self.tokens += node.end - start
        return node

    def _split(self, node: Node, taken: int) -> Node:
        """Cuts a node in two; returns the upper part. Who stands on it stands on the lower part, which ends there."""
        assert node.parent
        number = self._free.pop()
        upper = Node(node.tokens[:taken], node.start, number, node.parent, used=node.used, shared=node.shared)
        middle = node.start + taken
        self._cells.share(node.parked, upper.parked, node.start, middle)
        self._cells.drop(node.parked, node.start, middle)
        node.parent.children[int(upper.tokens[0])] = upper
        node.tokens, node.start, node.parent = node.tokens[taken:], middle, upper
        upper.children[int(node.tokens[0])] = node
        return upper

    def _forget(self, leaf: Node) -> int:
        """Frees the cells and the id of a leaf; returns its tokens."""
        self._cells.drop(leaf.parked, leaf.start, leaf.end)
        self._free.append(leaf.parked)
        assert leaf.parent
        del leaf.parent.children[int(leaf.tokens[0])]
        # Who used the leaf used what is above it.
        leaf.parent.used = max(leaf.parent.used, leaf.used)
        self.tokens -= len(leaf.tokens)
        return len(leaf.tokens)

    def _make_id(self, node: Node) -> bool:
        """Sees to it that there is an id to park under, without forgetting `node`; False if all are in use."""
        node.pins += 1
        ready = bool(self._free or self.evict())
        self.release(node)
        return ready

    def _leaves(self) -> list[Node]:
        """What can be forgotten."""
        return [node for node in self._nodes() if not node.children and not node.pins and node.parent]

    def _nodes(self) -> Iterator[Node]:
        rest = list(self._roots.values())
        while rest:
            node = rest.pop()
            yield node
            rest.extend(node.children.values())
