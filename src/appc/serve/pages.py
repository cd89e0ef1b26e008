"""The pages: what discovery reads in their meta tags, and people in the rest."""

from __future__ import annotations

from datetime import UTC, datetime

from appc.schema.json import dumps, loads
from appc.serve import html
from appc.serve.files import SIGNATURE_SUFFIX
from appc.serve.html import Markup, block, element, facts, join, link, section
from appc.serve.view import KEYS
from appc.values import ACIdentifier, ImageReference, Labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from appc.schema.image import App
    from appc.serve.image import ServedImage, Signer
    from appc.serve.view import View
    from appc.trust.packets import Certificate

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def name_page(view: View, name: str) -> bytes:
    """The page about an image name, or about a prefix of names ("" for everything)."""
    own = view.catalog.by_name.get(name, [])
    others = [image for image in view.catalog.below(name) if image.name != name]
    parts = []
    if own:
        parts += [_versions(view, own), _how_to_get(view, own[0], _version_alone(own[0]))]
    if others:
        parts.append(section("Images below" if own else "Names", _names(view, others)))
    if name:
        parts.append(_keys(view, name))
    if name == view.top:
        parts.append(_troubles(view))
    return html.page(name or "Images", view.discovery(name), _trail(view, name), join(parts))


def image_page(view: View, image: ServedImage) -> bytes:
    """The page about one image."""
    title = reference(image.name, image.labels)
    described = image.manifest.annotation("description")
    parts = [
        element("p", described) if described else Markup(),
        section("Image", _image_facts(view, image)),
        _how_to_get(view, image, image.labels),
        _app(image.manifest.app) if image.manifest.app else Markup(),
        _dependencies(view, image),
        _keys(view, image.name),
        section(
            "Manifest", element("div", block("Manifest", dumps(loads(image.manifest_bytes), 2)), class_="manifest")
        ),
    ]
    return html.page(title, view.discovery(image.name), _trail(view, image.name, last=True), join(parts))


def _trail(view: View, name: str, last: bool = False) -> Markup:
    """Links to the pages above `name`, and with `last` to its own."""
    if not name:
        return element("ol", element("li", element("span", "Images", aria_current="page")))
    steps = [link("/", "Images")] if not view.top else []
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        if view.top and not above.startswith(view.top):
            continue
        here = count == len(parts) and not last
        steps.append(
            element("span", parts[count - 1], aria_current="page") if here else link(view.page(above), parts[count - 1])
        )
    return element("ol", *(element("li", step) for step in steps))


def _versions(view: View, images: Sequence[ServedImage]) -> Markup:
    rows = []
    for image in images:
        files = [link(view.file(image), "image")]
        if image.signature is not None:
            files.append(link(view.signature(image), "signature"))
        rows.append(
            (
                link(view.details(image), image.version or "(no version)"),
                _platform(image),
                size(image.size),
                _signed(image),
                join(files, ", "),
            )
        )
    caption = f"{len(rows)} image{'' if len(rows) == 1 else 's'}, the highest version first"
    return section("Versions", html.table(caption, ("Version", "Runs on", "Size", "Signed", "Files"), rows))


def _names(view: View, images: Iterable[ServedImage]) -> Markup:
    by_name: dict[str, list[ServedImage]] = {}
    for image in images:
        by_name.setdefault(image.name, []).append(image)
    rows = [
        (
            link(view.page(name), name),
            known[0].version or "–",
            str(len(known)),
            str(sum(1 for image in known if image.signers)),
            size(known[0].size),
        )
        for name, known in by_name.items()
    ]
    return html.table("Names of images", ("Name", "Highest version", "Images", "Signed", "Size"), rows)


def _platform(image: ServedImage) -> str:
    labels = ", ".join(
        f"{name}={value}" for name, value in image.labels.items() if name not in ("version", "os", "arch")
    )
    platform = "/".join(filter(None, (image.labels.get("os"), image.labels.get("arch")))) or "anything"
    return f"{platform} ({labels})" if labels else platform


def _signed(image: ServedImage) -> Markup:
    if not image.signers:
        return element("span", "not signed", class_="bad")
    return join((_signer(signer) for signer in image.signers), ", ")


def _signer(signer: Signer) -> Markup:
    shown = [element("code", grouped(signer.fingerprint))]
    if signer.user_id:
        shown.append(html.text(f" {signer.user_id}"))
    if signer.fault:
        shown.append(element("span", f" – {signer.fault}", class_="bad"))
    elif not signer.verified:
        shown.append(element("span", " – by a key that is not here", class_="quiet"))
    return join(shown)


def _image_facts(view: View, image: ServedImage) -> Markup:
    exact = f" ({image.size} bytes)" if image.size >= 1024 else ""
    sizes = f"{size(image.size)}{exact}, {size(image.content_size)} uncompressed"
    signature = join((_signed(image), *((" – ", link(view.signature(image), "signature")) if image.signature else ())))
    return facts(
        (
            ("Name", link(view.page(image.name), image.name)),
            *((f"Label {name}", value) for name, value in image.labels.items()),
            ("Image ID", element("code", image.image_id)),
            ("SHA-256 of the file", element("code", image.sha256)),
            ("Size", sizes),
            ("Compression", image.compression),
            ("Changed", datetime.fromtimestamp(image.modified, UTC).strftime("%Y-%m-%d %H:%M UTC")),
            ("Signed by", signature),
            *((f"Annotation {one.name}", one.value) for one in image.manifest.annotations),
            ("File", link(view.file(image), view.file(image).rpartition("/")[2])),
        )
    )


def _version_alone(image: ServedImage) -> Labels:
    return Labels.of((("version", image.version),) if image.version else ())


def _how_to_get(view: View, image: ServedImage, labels: Labels) -> Markup:
    asked = quoted(reference(image.name, labels))
    steps = []
    if view.catalog.certificates and any(one.signers for one in view.catalog.by_name[image.name]):
        steps += [
            element("p", "Trust the key, after comparing its fingerprint with one you got elsewhere:"),
            block("Command to trust the key", f"appc trust add --prefix {quoted(image.name)} {view.base}{KEYS}"),
        ]
    if image.manifest.app is not None:
        steps += [element("p", "Run it:"), block("Command to run it", f"appc run {asked}")]
    steps += [element("p", "Only fetch it:"), block("Command to fetch it", f"appc fetch {asked}")]
    steps += [
        element("p", "Without discovery, as files:"),
        block("Commands to download it", "\n".join(_downloads(view, image))),
    ]
    if view.registry and not image.manifest.path_whitelist:
        insecure = "" if view.base.startswith("https:") else "--tls-verify=false "
        pull = f"podman pull {insecure}{quoted(view.oci_reference(image))}"
        steps += [element("p", "With other tools, as an OCI image:"), block("Command to pull it with podman", pull)]
    return section("How to get it", *steps)


def _downloads(view: View, image: ServedImage) -> list[str]:
    urls = [view.base + view.file(image)]
    if image.signature is not None:
        urls.append(urls[0] + SIGNATURE_SUFFIX)
    return [f"curl --fail --remote-name {quoted(url)}" for url in urls]


def _app(app: App) -> Markup:
    mounts = [f"{point.name} at {point.path}{' (read only)' if point.read_only else ''}" for point in app.mount_points]
    ports = [f"{port.name}: {port.port}/{port.protocol}" for port in app.ports]
    return section(
        "App",
        facts(
            (
                ("Executes", element("code", " ".join(quoted(word) for word in app.exec)) if app.exec else ""),
                ("As", f"user {app.user}, group {app.group}"),
                ("In", app.working_directory),
                ("Ports", ", ".join(ports)),
                ("Volumes", ", ".join(mounts)),
                ("Isolators", ", ".join(isolator.name for isolator in app.isolators)),
            )
        ),
    )


def _dependencies(view: View, image: ServedImage) -> Markup:
    rows = []
    for one in image.manifest.dependencies:
        shown = reference(one.image_name, one.labels)
        here = one.image_name in view.catalog.by_name
        rows.append(element("li", link(view.page(one.image_name), shown) if here else shown))
    return section("Needs", element("ul", *rows)) if rows else Markup()


def _keys(view: View, name: str) -> Markup:
    if not view.catalog.certificates:
        return Markup()
    rows = [
        (
            element("code", grouped(one.fingerprint)),
            "; ".join(one.user_ids[:3]),
            f"{one.primary.algorithm}{f' {one.primary.bits}' if one.primary.bits else ''}",
            _expiry(one),
        )
        for one in view.catalog.certificates
    ]
    table = html.table("Fingerprints of the keys", ("Fingerprint", "Of", "Kind", "Expires"), rows)
    return section("Keys", table, element("p", link(KEYS, "All keys in one file")))


def _expiry(certificate: Certificate) -> str:
    if certificate.primary.revoked:
        return "revoked"
    if not certificate.primary.expires:
        return "never"
    return datetime.fromtimestamp(certificate.primary.expires, UTC).strftime("%Y-%m-%d")


def _troubles(view: View) -> Markup:
    """What is in the directory and not served; its owner looks here when something is missing."""
    parts = []
    if view.catalog.pending:
        names = [element("li", element("code", path)) for path in view.catalog.pending]
        parts.append(section("Being read", element("ul", *names)))
    if view.catalog.faults:
        rows = [(element("code", path), reason) for path, reason in view.catalog.faults]
        parts.append(section("Not served", html.table("Files that are not served", ("File", "Why"), rows)))
    return join(parts)


def reference(name: str, labels: Labels) -> str:
    """An image as users write it: NAME:VERSION,LABEL=VALUE…"""
    return str(ImageReference(ACIdentifier(name), labels))


def size(count: float) -> str:
    """A number of bytes for people, in one word that is not broken."""
    unit = 0
    while count >= 1024 and unit + 1 < len(_UNITS):
        count /= 1024
        unit += 1
    return f"{count:.0f}\xa0{_UNITS[unit]}" if unit == 0 or count >= 10 else f"{count:.1f}\xa0{_UNITS[unit]}"


def grouped(fingerprint: str) -> str:
    """A fingerprint as people compare it: in capitals, in fours."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4)).upper()


def quoted(word: str) -> str:
    """A word as a shell takes it, on one line whatever is in it."""
    import shlex

    return shlex.quote("".join(character if character.isprintable() else "?" for character in word))
