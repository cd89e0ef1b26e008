"""Meta discovery: from an image's name to where the image and the keys of its makers are (discovery.md).

The page of the name is asked first, then those of its parents, as long as the answer is 4xx or has nothing to say about
the name. A host that cannot be reached, or is broken, ends the search: what a parent's page says must not depend on
who disturbs the way to another.
"""

from __future__ import annotations

import threading

from appc.errors import AppcError, HttpStatus, ImageNotFound, InvalidValue, NetworkError
from appc.formats.discovery import ENDPOINT, KEYS, MAX_PAGE, parents, tags_of_headers, tags_of_page

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from appc.formats.discovery import Tag
    from appc.net.http import Client


_DENIED = "the server says 401: it wants to know who asks"


class Step:
    """One page that was asked: its `url`, the redirects from there as (status, target), and `said`, what came of it.

    `tags` are those of the page that are about the name; `error` is what ended the search, if this step did.
    """

    __slots__ = ("error", "redirects", "said", "tags", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.redirects: list[tuple[int, str]] = []
        self.tags: list[Tag] = []
        self.said = ""
        self.error: AppcError | None = None


class Found:
    """What discovery found for a name: templates of images and URLs of keys in the page's order, and each step."""

    __slots__ = ("keys", "name", "steps", "templates")

    def __init__(self, name: str) -> None:
        self.name = name
        self.templates: list[str] = []
        self.keys: list[str] = []
        self.steps: list[Step] = []


class Discovery:
    """Discovery over one client; pages are asked for once. `ports` gives the port of hosts where it is not 443."""

    def __init__(self, client: Client, ports: Mapping[str, int] | None = None) -> None:
        self._client = client
        self._ports = ports or {}
        self._pages: dict[str, _Page] = {}
        self._lock = threading.Lock()

    def images(self, name: str) -> Found:
        """Find the templates for the image `name`.

        Raises ImageNotFound when no page has any, NetworkError when a page cannot be had.
        """
        found = self.search(name, ENDPOINT)
        _check(found, found.templates, "no page says where it is")
        return found

    def keys(self, name: str) -> Found:
        """Find the URLs of the keys for images called `name` or below; raises as `images` does."""
        found = self.search(name, KEYS)
        _check(found, found.keys, "no page says where its keys are")
        return found

    def search(self, name: str, *kinds: str) -> Found:
        """Ask the pages until for each of `kinds` (ENDPOINT, KEYS) one had tags; the last step may be a failure."""
        found = Found(name)
        wanted = set(kinds)
        for parent in parents(name):
            page = self._page(parent)
            step = Step(page.url)
            found.steps.append(step)
            step.redirects, step.error, step.said = page.redirects, page.error, page.said
            if step.error is not None:
                break
            step.tags = [tag for tag in page.tags if tag.covers(name)]
            if not step.said:
                step.said = _summary(step.tags, len(page.tags))
            kind_here = wanted & {tag.kind for tag in step.tags}
            if ENDPOINT in kind_here:
                found.templates = [tag.target for tag in step.tags if tag.kind == ENDPOINT]
            if KEYS in kind_here:
                found.keys = [tag.target for tag in step.tags if tag.kind == KEYS]
            wanted -= kind_here
            if not wanted:
                break
        return found

    def _page(self, name: str) -> _Page:
        with self._lock:
            page = self._pages.setdefault(name, _Page(name))
        with page.lock:
            if not page.url:
                page.fetch(self._client, self._ports)
        return page


class _Page:
    """The discovery page of one name; `said` is why there is none, `error` why none can be had."""

    def __init__(self, name: str) -> None:
        self.lock = threading.Lock()
        self.url = ""
        self.redirects: list[tuple[int, str]] = []
        self.tags: list[Tag] = []
        self.said = ""
        self.error: AppcError | None = None
        self._name = name

    def fetch(self, client: Client, ports: Mapping[str, int]) -> None:
        host, slash, path = self._name.partition("/")
        port = f":{ports[host]}" if host in ports else ""
        rest = f"{host}{port}{slash}{path}?ac-discovery=1"
        self._ask(client, f"https://{rest}")
        if self.error is not None and not isinstance(self.error, HttpStatus) and "http" in client.settings.insecure:
            self.error = None
            self._ask(client, f"http://{rest}")

    def _ask(self, client: Client, url: str) -> None:
        self.url = url
        try:
            with client.request("GET", url, headers={"accept": "text/html, */*;q=0.5"}) as answer:
                targets = [*(target for _, target in answer.steps[1:]), answer.url]
                self.redirects = [(status, to) for (status, _), to in zip(answer.steps, targets, strict=False)]
                if 400 <= answer.status < 500:
                    self.said = _DENIED if answer.status == 401 else f"the server says {answer.status}"
                    return
                body = answer.check().read(MAX_PAGE)
                fields = answer.headers
            tags = [*tags_of_page(body), *tags_of_headers(fields, self._name)]
            # Header fields may say what the page says too: that is no second mirror.
            self.tags = list({(tag.kind, tag.prefix, tag.target): tag for tag in tags}.values())
        except InvalidValue as error:
            self.error = NetworkError(str(error), url)
        except AppcError as error:
            self.error = error


def _summary(tags: list[Tag], all_tags: int) -> str:
    if not all_tags:
        return "the page has no tags for discovery"
    if not tags:
        return f"none of the page's {all_tags} tags is about this name"
    return f"{len(tags)} of the page's {all_tags} tags are about this name"


def _check(found: Found, wanted: list[str], what: str) -> None:
    last = found.steps[-1]
    if wanted:
        return
    if last.error is not None:
        raise last.error
    asked = f"{len(found.steps)} pages were asked" if len(found.steps) > 1 else "one page was asked"
    said = {step.said for step in found.steps}
    hint = f"`appc discover {found.name}` shows every step"
    if _DENIED in said:
        said = {_DENIED}
        hint = "credentials for its host go into auth.d of the configuration; see docs/fetching.md"
    reason = f"; {said.pop()}" if len(said) == 1 else ""
    raise ImageNotFound(f"{what} ({asked}{reason})", found.name, hint)
